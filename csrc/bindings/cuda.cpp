// The module _cuda (and, built on the emulated runtime, _cuda_emulated): check, release the GIL, queue. Memory comes as
// addresses, for this module knows no torch; electioncode/core/cuda_ops.py takes them from tensors. Documented in
// electioncode/core/_cuda.pyi.
#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdlib>
#include <optional>
#include <string>

#include "../cuda/ops.h"

namespace electioncode::bindings {

namespace py = pybind11;
using Address = std::uintptr_t;
using cuda::Queue;

constexpr std::int64_t kMaxTotalWeight = std::int64_t{1} << 40;
constexpr std::size_t kMaxCoordinates = std::size_t{1} << 43;  // so that bytes of float64 fit 64 bits with room
constexpr std::uint32_t kPurposeTie = 0, kPurposeZero = 1;
constexpr std::uint32_t kFirstWorkerStream = 1;  // stream 0 is the global vote's

[[noreturn]] void fail(const char* argument, const std::string& expected, const std::string& got) {
    throw py::value_error(std::string("_cuda: ") + argument + " must be " + expected + ", got " + got);
}

template <typename T>
T* pointer(Address address, std::size_t alignment, const char* argument, bool needed) {
    if (needed && address == 0) fail(argument, "an address", "0");
    if (address % alignment) fail(argument, "aligned to " + std::to_string(alignment) + " bytes", std::to_string(address));
    return reinterpret_cast<T*>(address);
}

Word* words_at(Address address, const char* argument, bool needed) { return pointer<Word>(address, sizeof(Word), argument, needed); }

std::size_t coordinates(std::size_t d) {
    if (d > kMaxCoordinates) fail("d", "at most 2**43", std::to_string(d));
    return d;
}

template <typename Enum>
Enum choice(int value, int count, const char* argument) {
    if (value < 0 || value >= count) fail(argument, "0 .. " + std::to_string(count - 1), std::to_string(value));
    return static_cast<Enum>(value);
}

std::size_t element_bytes(Dtype dtype) { return dtype == Dtype::kFloat64 ? 8 : dtype == Dtype::kFloat32 ? 4 : dtype == Dtype::kInt8 ? 1 : 2; }

template <typename T>
T* values_at(Address address, Dtype dtype, const char* argument, bool needed) {
    return pointer<T>(address, element_bytes(dtype), argument, needed);
}

using Scratch = std::function<Address(std::size_t)>;

Queue queue_of(int device, Address stream, Scratch scratch) {
    if (device < 0) fail("device", "at least 0", std::to_string(device));
    return {device, reinterpret_cast<void*>(stream), [scratch = std::move(scratch)](std::size_t bytes) {
                const py::gil_scoped_acquire acquire;
                return pointer<void>(scratch(bytes), 16, "scratch", true);
            }};
}

// Everything that a call queues; the GIL is given back meanwhile.
template <typename Operation>
void run(int device, Address stream, Scratch scratch, Operation operation) {
    const Queue queue = queue_of(device, stream, std::move(scratch));
    const py::gil_scoped_release release;
    operation(queue);
}

// dtype, x, v (0: none), d, words, mask (0: none), first_word, stream
using PackTuple = std::tuple<int, Address, Address, std::size_t, Address, Address, std::size_t, std::uint32_t>;

void pack_tensors(const std::vector<PackTuple>& tensors, double beta, double weight, bool negate, int zero, int nan, std::uint32_t seed,
                  std::uint32_t step, Address used, Address saw_nan, const std::optional<std::pair<double, double>>& split, int device,
                  Address stream, Scratch scratch) {
    std::vector<PackJob> jobs;
    for (const auto& [type, x, v, size, words, mask, first_word, random_stream] : tensors) {
        const Dtype dtype = choice<Dtype>(type, 4, "dtype");
        PackJob job{};
        job.dtype = dtype;
        job.d = coordinates(size);
        job.x = values_at<const void>(x, dtype, "x", size > 0);
        job.v = values_at<void>(v, dtype, "v", split && size > 0);
        job.beta = beta, job.weight = weight, job.negate = negate;
        if (split) job.split = true, job.split_beta = split->first, job.split_weight = split->second;
        job.zero = choice<Zero>(zero, 4, "zero");
        job.nan = choice<Nan>(nan, 3, "nan");
        job.random = {seed, step, random_stream, kPurposeZero};
        job.first_word = first_word;
        job.words = words_at(words, "words", size > 0);
        job.mask = words_at(mask, "mask", size > 0 && (job.zero == Zero::kAbstain || job.nan == Nan::kAbstain));
        jobs.push_back(job);
    }
    if (jobs.size() > 0xffffffff) fail("tensors", "fewer than 2**32", std::to_string(jobs.size()));
    const auto* flags = pointer<const std::uint8_t>(used, 1, "used", false);
    int* nans = pointer<int>(saw_nan, alignof(int), "saw_nan", false);
    run(device, stream, std::move(scratch), [&](const Queue& queue) { cuda::pack(jobs, flags, nans, queue); });
}

using SignsTuple = std::tuple<int, Address, std::size_t, Address, Address>;  // dtype, values, d, words, mask (0: none)

void unpack_tensors(const std::vector<SignsTuple>& tensors, int device, Address stream, Scratch scratch) {
    std::vector<UnpackJob> jobs;
    for (const auto& [type, out, size, words, mask] : tensors) {
        UnpackJob job{};
        job.dtype = choice<Dtype>(type, 5, "dtype");
        job.d = coordinates(size);
        job.out = values_at<void>(out, job.dtype, "out", size > 0);
        job.words = words_at(words, "words", size > 0);
        job.mask = words_at(mask, "mask", false);
        jobs.push_back(job);
    }
    run(device, stream, std::move(scratch), [&](const Queue& queue) { cuda::unpack(jobs, queue); });
}

void update_tensors(const std::vector<SignsTuple>& tensors, double decay, double step, int device, Address stream, Scratch scratch) {
    std::vector<UpdateJob> jobs;
    for (const auto& [type, p, size, words, mask] : tensors) {
        UpdateJob job{};
        job.dtype = choice<Dtype>(type, 4, "dtype");
        job.d = coordinates(size);
        job.p = values_at<void>(p, job.dtype, "params", size > 0);
        job.decay = decay, job.step = step;
        job.words = words_at(words, "words", size > 0);
        job.mask = words_at(mask, "mask", false);
        jobs.push_back(job);
    }
    run(device, stream, std::move(scratch), [&](const Queue& queue) { cuda::update(jobs, queue); });
}

using Rows = std::vector<std::pair<Address, Address>>;  // words, mask (0: none)

std::vector<cuda::Voter> voters_of(const Rows& rows, const std::optional<std::vector<std::int64_t>>& weights, std::size_t d) {
    if (weights && weights->size() != rows.size()) fail("weights", "one a voter", std::to_string(weights->size()));
    std::vector<cuda::Voter> voters;
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::int64_t w = weights ? (*weights)[i] : 1;
        if (w > kMaxTotalWeight || w < -kMaxTotalWeight || (sum += std::abs(w)) > kMaxTotalWeight)
            fail("weights", "at most 2**40 in sum of absolute values", std::to_string(w));
        voters.push_back({words_at(rows[i].first, "words", d > 0), words_at(rows[i].second, "masks", false), w});
    }
    return voters;
}

cuda::Decision decision_of(std::size_t d, int tie, std::uint32_t seed, std::uint32_t step, std::uint32_t stream, Address out, Address out_mask) {
    const Tie policy = choice<Tie>(tie, 4, "tie");
    return {policy, {seed, step, stream, kPurposeTie}, coordinates(d), words_at(out, "out", d > 0),
            words_at(out_mask, "out_mask", d > 0 && policy == Tie::kAbstain)};
}

void majority_of(const Rows& rows, const std::optional<std::vector<std::int64_t>>& weights, std::size_t d, int tie, std::uint32_t seed,
                 std::uint32_t step, std::uint32_t random_stream, Address out, Address out_mask, int device, Address stream, Scratch scratch) {
    const std::vector<cuda::Voter> voters = voters_of(rows, weights, d);
    const cuda::Decision decision = decision_of(d, tie, seed, step, random_stream, out, out_mask);
    run(device, stream, std::move(scratch), [&](const Queue& queue) { cuda::majority(voters, decision, queue); });
}

void disagreement_of(const Rows& rows, Address winner, Address winner_mask, std::size_t d, Address counts, int device, Address stream,
                     Scratch scratch) {
    const std::vector<cuda::Voter> voters = voters_of(rows, std::nullopt, d);
    const cuda::Voter result{words_at(winner, "winner", d > 0), words_at(winner_mask, "winner_mask", false), 1};
    auto* to = pointer<std::int64_t>(counts, sizeof(std::int64_t), "counts", !rows.empty());
    run(device, stream, std::move(scratch), [&](const Queue& queue) { cuda::disagreement(voters, result, coordinates(d), to, queue); });
}

std::vector<Dot> counters_of(const std::vector<std::pair<Address, int>>& rows, std::size_t d, int most) {
    std::vector<Dot> dots;
    for (const auto& [words, plane] : rows) {
        if (plane < 0 || plane > most) fail("planes", "0 .. " + std::to_string(most), std::to_string(plane));
        dots.push_back({words_at(words, "rows", d > 0), nullptr, DotKind::kRow, plane});
    }
    return dots;
}

void counters_majority(const std::vector<std::pair<Address, int>>& rows, std::uint64_t maximum, std::size_t d, int tie, std::uint32_t seed,
                       std::uint32_t step, std::uint32_t random_stream, Address out, Address out_mask, int device, Address stream, Scratch scratch) {
    const std::vector<Dot> dots = counters_of(rows, d, 40);
    if (maximum > static_cast<std::uint64_t>(2 * kMaxTotalWeight)) fail("maximum", "at most 2**41", std::to_string(maximum));
    for (const Dot& dot : dots)
        if ((maximum >> dot.plane) == 0) fail("maximum", "at least the counters' highest bit", std::to_string(maximum));
    const cuda::Decision decision = decision_of(d, tie, seed, step, random_stream, out, out_mask);
    run(device, stream, std::move(scratch), [&](const Queue& queue) { cuda::majority_of_counters(dots, maximum, decision, queue); });
}

void counters_margin(const std::vector<std::pair<Address, int>>& rows, std::int64_t offset, std::size_t d, Address out, int device,
                     Address stream, Scratch scratch) {
    const std::vector<Dot> dots = counters_of(rows, d, 31);
    const MarginJob job{dots.data(), dots.size(), offset, coordinates(d), pointer<std::int32_t>(out, sizeof(std::int32_t), "out", d > 0)};
    run(device, stream, std::move(scratch), [&](const Queue& queue) { cuda::margin(job, queue); });
}

void accumulate_into(Address words, Address mask, int kind, const std::vector<Address>& sums, const std::vector<Address>& pending, Address rest,
                     std::size_t d, int device, Address stream, Scratch scratch) {
    const auto dot = choice<DotKind>(kind, 4, "kind");
    if (sums.size() != pending.size()) fail("pending", "as many as sums", std::to_string(pending.size()));
    if (sums.size() > 42) fail("sums", "at most 42", std::to_string(sums.size()));
    std::vector<Word*> sum;
    std::vector<const Word*> waiting;
    for (std::size_t i = 0; i < sums.size(); ++i) {
        sum.push_back(words_at(sums[i], "sums", d > 0));
        waiting.push_back(words_at(pending[i], "pending", d > 0));
    }
    const Dot source{words_at(words, "words", d > 0), words_at(mask, "mask", d > 0 && dot >= DotKind::kRowOrNotMask), dot, 0};
    const AccumulateJob job{source, 0, sum.size(), sum.data(), waiting.data(), words_at(rest, "rest", d > 0), coordinates(d)};
    run(device, stream, std::move(scratch), [&](const Queue& queue) { cuda::accumulate(job, queue); });
}

// words, mask (0: none), rows, stride and mask_stride in words
using RowsTuple = std::tuple<Address, Address, std::size_t, std::size_t, std::size_t>;

cuda::RowSet rows_of(const RowsTuple& rows, std::size_t d, const char* argument) {
    const auto& [words, mask, count, stride, mask_stride] = rows;
    const std::size_t width = (coordinates(d) + kWordBits - 1) / kWordBits;
    if (count > 0xffffffff) fail(argument, "fewer than 2**32 rows", std::to_string(count));
    if (count > 1 && (stride < width || (mask && mask_stride < width))) fail(argument, "rows that do not overlap", std::to_string(stride));
    return {words_at(words, argument, d > 0 && count > 0), words_at(mask, argument, false), count, stride, mask_stride};
}

cuda::CodedVote coded_vote_of(const RowsTuple& rows, const std::vector<std::size_t>& first, const std::vector<std::size_t>& members, std::size_t d,
                              int tie, std::uint32_t seed, std::uint32_t step) {
    const cuda::RowSet partitions = rows_of(rows, d, "words");
    if (first.empty() || first.front() != 0 || first.back() != members.size()) fail("first", "offsets into members", "others");
    if (first.size() > 0xffffffff || members.size() > 0xfffffffe) fail("members", "fewer than 2**32", std::to_string(members.size()));
    for (std::size_t i = 1; i < first.size(); ++i)
        if (first[i] < first[i - 1] || first[i] - first[i - 1] > 0x7fffff) fail("first", "not decreasing, with at most 2**23 - 1 members a worker", std::to_string(first[i]));
    for (const std::size_t m : members)
        if (m >= partitions.rows) fail("members", "partition indices", std::to_string(m));
    return {partitions, {first, members}, choice<Tie>(tie, 4, "tie"), {seed, step, kFirstWorkerStream, kPurposeTie}, d};
}

void local_majorities_of(const RowsTuple& rows, const std::vector<std::size_t>& first, const std::vector<std::size_t>& members, std::size_t d, int tie,
                         std::uint32_t seed, std::uint32_t step, const RowsTuple& out, int device, Address stream, Scratch scratch) {
    const cuda::CodedVote vote = coded_vote_of(rows, first, members, d, tie, seed, step);
    const cuda::RowSet to = rows_of(out, d, "out");
    if (to.rows != vote.code.num_workers()) fail("out", "one row a worker", std::to_string(to.rows));
    bool idle = false;
    for (std::size_t i = 1; i < first.size(); ++i) idle = idle || first[i] == first[i - 1];
    if (d > 0 && !to.mask && (idle || vote.tie == Tie::kAbstain)) fail("out", "masked where ties abstain or a worker is idle", "no mask");
    run(device, stream, std::move(scratch), [&](const Queue& queue) {
        cuda::local_majorities(vote, const_cast<Word*>(to.words), to.stride, const_cast<Word*>(to.mask), to.mask_stride, queue);
    });
}

void coded_majority_of(const RowsTuple& rows, const std::vector<std::size_t>& first, const std::vector<std::size_t>& members, std::size_t d, int tie,
                       std::uint32_t seed, std::uint32_t step, Address out, Address out_mask, int device, Address stream, Scratch scratch) {
    const cuda::CodedVote vote = coded_vote_of(rows, first, members, d, tie, seed, step);
    if (vote.code.num_workers() > 0x7fffff) fail("first", "at most 2**23 - 1 workers", std::to_string(vote.code.num_workers()));
    const cuda::Decision decision = decision_of(d, tie, seed, step, 0, out, out_mask);
    run(device, stream, std::move(scratch), [&](const Queue& queue) { cuda::coded_majority(vote, decision, queue); });
}

std::pair<int, std::string> count_devices() {
    std::string why;
    const int count = cuda::device_count(&why);
    return {count, why};
}

}  // namespace electioncode::bindings

PYBIND11_MODULE(ELECTIONCODE_CUDA_MODULE, m, pybind11::mod_gil_not_used()) {
    using namespace electioncode::bindings;
    m.def("pack_tensors", &pack_tensors);
    m.def("unpack_tensors", &unpack_tensors);
    m.def("update_tensors", &update_tensors);
    m.def("majority", &majority_of);
    m.def("disagreement", &disagreement_of);
    m.def("counters_majority", &counters_majority);
    m.def("counters_margin", &counters_margin);
    m.def("accumulate", &accumulate_into);
    m.def("local_majorities", &local_majorities_of);
    m.def("coded_majority", &coded_majority_of);
    m.def("device_count", &count_devices);  // never fails: no driver is no device, and the reason
    m.def("is_emulated", &electioncode::cuda::is_emulated);
    m.def("built_for", &electioncode::cuda::built_for);
}
