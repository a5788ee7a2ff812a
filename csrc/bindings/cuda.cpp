// The module _cuda (and, built on the emulated runtime, _cuda_emulated): check, release the GIL, queue. Memory comes as
// addresses, for this module knows no torch; electioncode/core/cuda_ops.py takes them from tensors. Documented in
// electioncode/core/_cuda.pyi.
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include "../cuda/ops.h"
#include "checks.h"

namespace electioncode::bindings {

const char* const kModule = "_cuda";

namespace {

using cuda::Queue;
using Scratch = std::function<Address(size_t)>;
using Operation = std::function<void(const Queue&)>;

// Make a function of Python from one that checks its arguments and returns what to queue. Python passes the device, the
// stream and the source of scratch memory last; the GIL is released while kernels are queued.
template <typename... Args> auto queued(Operation (*check)(Args...)) {
    return [check](Args... args, int device, Address stream, Scratch scratch) {
        const Operation operation = check(std::forward<Args>(args)...);
        if (device < 0) fail("device", "at least 0", device);
        const Queue queue{device, reinterpret_cast<void*>(stream), [&](size_t bytes) {
                              const py::gil_scoped_acquire acquire;
                              return pointer<void>(scratch(bytes), 16, "scratch", true);
                          }};
        const py::gil_scoped_release release;
        operation(queue);
    };
}

Word* words_at(Address address, const char* argument, bool needed) {
    return pointer<Word>(address, sizeof(Word), argument, needed);
}

// dtype, x, v (0: none), d, words, mask (0: none), first_word, stream
using PackTuple = std::tuple<int, Address, Address, size_t, Address, Address, size_t, uint32_t>;

Operation pack_tensors(const std::vector<PackTuple>& tensors, double beta, double weight, bool negate, int zero,
                       int nan, Key seed, Key step, Address used, Address saw_nan, const MaybeSplit& split) {
    std::vector<PackJob> jobs;
    for (const auto& [type, x, v, d, words, mask, first_word, stream] : tensors) {
        PackJob job;
        job.dtype = float_of(type), job.d = coordinates(d);
        job.x = values_at<const void>(x, job.dtype, "x", d > 0);
        job.v = values_at<void>(v, job.dtype, "v", false);
        set_rule(job, beta, weight, negate, zero, nan, split);
        job.random = {seed, step, stream, kPurposeZero};
        job.first_word = first_word;
        job.words = words_at(words, "words", d > 0);
        job.mask = words_at(mask, "mask", d > 0 && (job.zero == Zero::kAbstain || job.nan == Nan::kAbstain));
        jobs.push_back(job);
    }
    if (jobs.size() > 0xffffffff) fail("tensors", "fewer than 2**32", jobs.size());
    const auto* flags = pointer<const uint8_t>(used, 1, "used", false);
    int* nans = pointer<int>(saw_nan, alignof(int), "saw_nan", false);
    return [=](const Queue& queue) { cuda::pack(jobs, flags, nans, queue); };
}

using SignsTuple = std::tuple<int, Address, size_t, Address, Address>;  // dtype, values, d, words, mask (0: none)

Operation unpack_tensors(const std::vector<SignsTuple>& tensors) {
    std::vector<UnpackJob> jobs;
    for (const auto& [type, out, d, words, mask] : tensors) {
        const Dtype dtype = choice<Dtype>(type, 5, "dtype");
        jobs.push_back({words_at(words, "words", coordinates(d) > 0), words_at(mask, "mask", false), d, dtype,
                        values_at<void>(out, dtype, "out", d > 0)});
    }
    return [=](const Queue& queue) { cuda::unpack(jobs, queue); };
}

Operation update_tensors(const std::vector<SignsTuple>& tensors, double decay, double step) {
    std::vector<UpdateJob> jobs;
    for (const auto& [type, p, d, words, mask] : tensors) {
        const Dtype dtype = float_of(type);
        jobs.push_back({values_at<void>(p, dtype, "params", coordinates(d) > 0), dtype, d, decay, step,
                        words_at(words, "words", d > 0), words_at(mask, "mask", false)});
    }
    return [=](const Queue& queue) { cuda::update(jobs, queue); };
}

using Rows = std::vector<std::pair<Address, Address>>;  // words, mask (0: none)

std::vector<Voter> voters_of(const Rows& rows, const MaybeWeights& weights, size_t d) {
    std::vector<Voter> voters;
    for (const auto& [words, mask] : rows)
        voters.push_back({words_at(words, "words", d > 0), words_at(mask, "masks", false), 1});
    set_weights(voters, weights);
    return voters;
}

Decision decision_of(size_t d, int tie, Key seed, Key step, Key stream, Address out, Address out_mask) {
    const RandomStream random{seed, step, stream, kPurposeTie};
    Word* voted = words_at(out_mask, "out_mask", coordinates(d) > 0 && tie_of(tie) == Tie::kAbstain);
    return {tie_of(tie), random, d, words_at(out, "out", d > 0), voted};
}

Operation majority_of(const Rows& rows, const MaybeWeights& weights, size_t d, int tie, Key seed, Key step,
                      Key random_stream, Address out, Address out_mask) {
    const std::vector<Voter> voters = voters_of(rows, weights, d);
    const Decision decision = decision_of(d, tie, seed, step, random_stream, out, out_mask);
    return [=](const Queue& queue) { cuda::majority(voters, decision, queue); };
}

Operation disagreement_of(const Rows& rows, Address winner, Address winner_mask, size_t d, Address counts) {
    const std::vector<Voter> voters = voters_of(rows, std::nullopt, coordinates(d));
    const Voter result{words_at(winner, "winner", d > 0), words_at(winner_mask, "winner_mask", false), 1};
    auto* to = pointer<int64_t>(counts, sizeof(int64_t), "counts", !rows.empty());
    return [=](const Queue& queue) { cuda::disagreement(voters, result, d, to, queue); };
}

using Counters = std::vector<std::pair<Address, int>>;  // words, plane

std::vector<Dot> counters_of(const Counters& rows, size_t d, int most) {
    std::vector<Dot> dots;
    for (const auto& [words, plane] : rows) {
        if (plane < 0 || plane > most) fail("planes", "0 .. " + std::to_string(most), plane);
        dots.push_back({words_at(words, "rows", d > 0), nullptr, DotKind::kRow, plane});
    }
    return dots;
}

Operation counters_majority(const Counters& rows, uint64_t maximum, size_t d, int tie, Key seed, Key step,
                            Key random_stream, Address out, Address out_mask) {
    const std::vector<Dot> dots = counters_of(rows, d, 40);
    check_maximum(maximum, dots);
    const Decision decision = decision_of(d, tie, seed, step, random_stream, out, out_mask);
    return [=](const Queue& queue) { cuda::majority_of_counters(dots, maximum, decision, queue); };
}

Operation counters_margin(const Counters& rows, int64_t offset, size_t d, Address out) {
    const std::vector<Dot> dots = counters_of(rows, coordinates(d), 31);
    auto* to = pointer<int32_t>(out, sizeof(int32_t), "out", d > 0);
    return [=](const Queue& queue) { cuda::margin({dots.data(), dots.size(), offset, d, to}, queue); };
}

Operation accumulate_into(Address words, Address mask, int kind, const std::vector<Address>& sums,
                          const std::vector<Address>& pending, Address rest, size_t d) {
    const auto dot = choice<DotKind>(kind, 4, "kind");
    if (sums.size() != pending.size()) fail("pending", "as many as sums", pending.size());
    if (sums.size() > 42) fail("sums", "at most 42", sums.size());
    std::vector<Word*> sum;
    std::vector<const Word*> waiting;
    for (size_t i = 0; i < sums.size(); ++i) {
        sum.push_back(words_at(sums[i], "sums", coordinates(d) > 0));
        waiting.push_back(words_at(pending[i], "pending", d > 0));
    }
    const bool needs_mask = dot >= DotKind::kRowOrNotMask;
    const Dot source{words_at(words, "words", coordinates(d) > 0), words_at(mask, "mask", d > 0 && needs_mask), dot, 0};
    Word* carry = words_at(rest, "rest", d > 0);
    return [=](const Queue& queue) {
        cuda::accumulate({source, sum.size(), sum.data(), waiting.data(), carry, d}, queue);
    };
}

// words, mask (0: none), rows, stride and mask_stride in words
using RowsTuple = std::tuple<Address, Address, size_t, size_t, size_t>;

cuda::RowSet rows_of(const RowsTuple& rows, size_t d, const char* argument) {
    const auto& [words, mask, count, stride, mask_stride] = rows;
    const size_t width = num_words(coordinates(d));
    if (count > 0xffffffff) fail(argument, "fewer than 2**32 rows", count);
    if (count > 1 && (stride < width || (mask && mask_stride < width)))
        fail(argument, "rows that do not overlap", stride);
    return {words_at(words, argument, d > 0 && count > 0), words_at(mask, argument, false), count, stride, mask_stride};
}

cuda::CodedVote coded_vote_of(const RowsTuple& rows, const Indices& first, const Indices& members, size_t d, int tie,
                              Key seed, Key step) {
    constexpr size_t kMost = 0x7fffff;  // what the kernels' counters hold
    const cuda::RowSet partitions = rows_of(rows, d, "words");
    const Code code = code_of(first, members, partitions.rows, kMost);
    if (first.size() > 0xffffffff || members.size() > 0xfffffffe) fail("members", "fewer than 2**32", members.size());
    return {partitions, code, tie_of(tie), {seed, step, kFirstWorkerStream, kPurposeTie}, d};
}

Operation local_majorities_of(const RowsTuple& rows, const Indices& first, const Indices& members, size_t d, int tie,
                              Key seed, Key step, const RowsTuple& out) {
    const cuda::CodedVote vote = coded_vote_of(rows, first, members, d, tie, seed, step);
    const cuda::RowSet to = rows_of(out, d, "out");
    if (to.rows != vote.code.num_workers()) fail("out", "one row per worker", to.rows);
    if (d > 0 && !to.mask && (vote.tie == Tie::kAbstain || has_idle_worker(vote.code)))
        fail("out", "masked where ties abstain or a worker is idle", "no mask");
    return [=](const Queue& queue) {
        cuda::local_majorities(vote, const_cast<Word*>(to.words), to.stride, const_cast<Word*>(to.mask), to.mask_stride,
                               queue);
    };
}

Operation coded_majority_of(const RowsTuple& rows, const Indices& first, const Indices& members, size_t d, int tie,
                            Key seed, Key step, Address out, Address out_mask) {
    const cuda::CodedVote vote = coded_vote_of(rows, first, members, d, tie, seed, step);
    if (vote.code.num_workers() > 0x7fffff) fail("first", "at most 2**23 - 1 workers", vote.code.num_workers());
    const Decision decision = decision_of(d, tie, seed, step, 0, out, out_mask);
    return [=](const Queue& queue) { cuda::coded_majority(vote, decision, queue); };
}

std::pair<int, std::string> count_devices() {
    std::string why;
    const int count = cuda::device_count(&why);
    return {count, why};
}

}  // namespace
}  // namespace electioncode::bindings

PYBIND11_MODULE(ELECTIONCODE_CUDA_MODULE, m, pybind11::mod_gil_not_used()) {
    using namespace electioncode::bindings;
    m.def("pack_tensors", queued(&pack_tensors));
    m.def("unpack_tensors", queued(&unpack_tensors));
    m.def("update_tensors", queued(&update_tensors));
    m.def("majority", queued(&majority_of));
    m.def("disagreement", queued(&disagreement_of));
    m.def("counters_majority", queued(&counters_majority));
    m.def("counters_margin", queued(&counters_margin));
    m.def("accumulate", queued(&accumulate_into));
    m.def("local_majorities", queued(&local_majorities_of));
    m.def("coded_majority", queued(&coded_majority_of));
    m.def("device_count", &count_devices);  // never fails: no driver is no device, and the reason
    m.def("is_emulated", &electioncode::cuda::is_emulated);
    m.def("built_for", &electioncode::cuda::built_for);
}
