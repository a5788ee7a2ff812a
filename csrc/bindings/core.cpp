// The module _core: check, release the GIL, call. Documented in electioncode/_core.pyi.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <tuple>
#include <utility>

#include "../cpu/code_votes.h"
#include "../cpu/dispatch.h"
#include "../cpu/ops.h"
#include "../cpu/thread_pool.h"
#include "arrays.h"

namespace electioncode::bindings {

using Release = py::gil_scoped_release;

bool pack_rows(const py::array& x, const py::array& words, const MaybeArray& mask, int zero, int nan, std::uint32_t seed,
               std::uint32_t step, std::uint32_t stream) {
    const Dtype dtype = dtype_of(x, "x");
    const Rows from = rows_of(x, "x", false);
    const Rows to = words_of(words, "words", from.rows, num_words(from.columns), true);
    const Rows voted = mask ? words_of(*mask, "mask", from.rows, to.columns, true) : Rows{};
    std::vector<PackJob> jobs;
    for (std::size_t i = 0; i < from.rows; ++i) {
        const RandomStream random{seed, step, stream + static_cast<std::uint32_t>(i), kPurposeZero};
        jobs.push_back({from.row<void>(i), nullptr, dtype, from.columns, 0, 0, false, choice<Zero>(zero, 4, "zero"),
                        choice<Nan>(nan, 3, "nan"), random, 0, to.row<Word>(i), mask ? voted.row<Word>(i) : nullptr, 0});
    }
    const Release release;
    return pack(jobs);
}

// A tensor to be packed: its dtype, its numbers, its momentum (or nullptr), and how many.
struct Packed {
    Dtype dtype;
    const void* x;
    void* v;
    std::size_t d;
};

bool pack_all(const std::vector<Packed>& tensors, double beta, double weight, bool negate, const py::array& words, const MaybeArray& mask,
              int zero, int nan, std::uint32_t seed, std::uint32_t step, std::uint32_t stream, std::size_t first_word,
              const std::optional<std::pair<double, double>>& split) {
    std::size_t total = 0;
    for (const Packed& t : tensors) total += num_words(t.d);
    Word* out = words_of(words, "words", 1, total, true).row<Word>(0);
    Word* out_mask = maybe_words(mask, "mask", total, true);
    const RandomStream random{seed, step, stream, kPurposeZero};
    std::vector<PackJob> jobs;
    std::size_t first = 0;
    for (const Packed& t : tensors) {
        jobs.push_back({t.x, t.v, t.dtype, t.d, beta, weight, negate, choice<Zero>(zero, 4, "zero"), choice<Nan>(nan, 3, "nan"), random,
                        first_word + first, out + first, out_mask ? out_mask + first : nullptr, 0});
        if (split) {
            if (!t.v && t.d > 0) fail("momenta", "given where the momentum is split", "None");
            jobs.back().split = true;
            std::tie(jobs.back().split_beta, jobs.back().split_weight) = *split;
        }
        first += num_words(t.d);
    }
    const Release release;
    return pack(jobs);
}

bool pack_tensors(const std::vector<py::array>& tensors, const std::optional<std::vector<py::array>>& momenta, double beta,
                  double weight, bool negate, const py::array& words, const MaybeArray& mask, int zero, int nan,
                  std::uint32_t seed, std::uint32_t step, std::uint32_t stream, std::size_t first_word,
                  const std::optional<std::pair<double, double>>& split) {
    if (momenta && momenta->size() != tensors.size()) fail("momenta", "as many as tensors", std::to_string(momenta->size()));
    std::vector<Packed> all;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        const Rows x = tensor_of(tensors[i], "tensors", false);
        const Dtype dtype = dtype_of(tensors[i], "tensors");
        void* v = nullptr;
        if (momenta) {
            const py::array& m = (*momenta)[i];
            const Rows rows = tensor_of(m, "momenta", true);
            if (rows.columns != x.columns || dtype_of(m, "momenta") != dtype) fail("momenta", "like its tensor", describe(m));
            v = rows.data;
        }
        all.push_back({dtype, x.data, v, x.columns});
    }
    return pack_all(all, beta, weight, negate, words, mask, zero, nan, seed, step, stream, first_word, split);
}

// The same of tensors elsewhere in Python, whose memory the caller vouches for: dtype, x, v (0: none), d.
using PackTuple = std::tuple<int, std::uintptr_t, std::uintptr_t, std::size_t>;

bool pack_addresses(const std::vector<PackTuple>& tensors, double beta, double weight, bool negate, const py::array& words,
                    const MaybeArray& mask, int zero, int nan, std::uint32_t seed, std::uint32_t step, std::uint32_t stream,
                    std::size_t first_word, const std::optional<std::pair<double, double>>& split) {
    std::vector<Packed> all;
    for (const auto& [type, x, v, d] : tensors) {
        const Dtype dtype = choice<Dtype>(type, 4, "dtype");
        all.push_back({dtype, at_address<const void>(x, dtype, d > 0), at_address<void>(v, dtype, false), d});
    }
    return pack_all(all, beta, weight, negate, words, mask, zero, nan, seed, step, stream, first_word, split);
}

void unpack_rows(const py::array& words, const MaybeArray& mask, const py::array& out) {
    const Dtype dtype = has_type(out, 'i', 1) ? Dtype::kInt8 : dtype_of(out, "out");
    if (!is_aligned(out, static_cast<std::size_t>(out.itemsize()))) fail("out", "aligned", describe(out));
    const Rows to = rows_of(out, "out", true);
    const Rows from = words_of(words, "words", to.rows, num_words(to.columns), false);
    const Rows voted = mask ? words_of(*mask, "mask", to.rows, from.columns, false) : Rows{};
    const Release release;
    for (std::size_t i = 0; i < to.rows; ++i)
        unpack({from.row<Word>(i), mask ? voted.row<Word>(i) : nullptr, to.columns, dtype, to.row<void>(i)});
}

using UpdateTuple = std::tuple<int, std::uintptr_t, std::size_t>;  // dtype, parameters, d

void update_addresses(const std::vector<UpdateTuple>& params, const py::array& words, const MaybeArray& mask, double decay, double step) {
    std::size_t total = 0;
    for (const auto& [type, p, d] : params) total += num_words(d);
    const Word* signs = words_of(words, "words", 1, total, false).row<Word>(0);
    const Word* voted = maybe_words(mask, "mask", total, false);
    std::vector<UpdateJob> jobs;
    std::size_t first = 0;
    for (const auto& [type, p, d] : params) {
        const Dtype dtype = choice<Dtype>(type, 4, "dtype");
        jobs.push_back({at_address<void>(p, dtype, d > 0), dtype, d, decay, step, signs + first, voted ? voted + first : nullptr});
        first += num_words(d);
    }
    const Release release;
    update(jobs);
}

void update_tensors(const std::vector<py::array>& params, const py::array& words, const MaybeArray& mask, double decay, double step) {
    std::vector<UpdateTuple> all;
    for (const py::array& p : params) {
        const Rows rows = tensor_of(p, "params", true);
        all.emplace_back(static_cast<int>(dtype_of(p, "params")), reinterpret_cast<std::uintptr_t>(rows.data), rows.columns);
    }
    update_addresses(all, words, mask, decay, step);
}

// Voters from one 2-D array, or from a sequence of 1-D arrays that lie anywhere; masks may be None, whole or in part.
std::vector<Voter> voters_of(const py::object& words, const py::object& masks, const std::optional<std::vector<std::int64_t>>& weights,
                             std::size_t d) {
    std::vector<Voter> voters;
    const std::size_t columns = num_words(d);
    if (py::isinstance<py::array>(words)) {
        const auto array = py::reinterpret_borrow<py::array>(words);
        const std::size_t n = array.ndim() == 2 ? static_cast<std::size_t>(array.shape(0)) : 1;
        const Rows rows = words_of(array, "words", n, columns, false);
        const Rows voted = masks.is_none() ? Rows{} : words_of(py::cast<py::array>(masks), "masks", n, columns, false);
        for (std::size_t i = 0; i < n; ++i) voters.push_back({rows.row<Word>(i), voted.data ? voted.row<Word>(i) : nullptr, 1});
        if (!masks.is_none() && columns == 0)
            for (Voter& v : voters) v.mask = v.words;
    } else {
        const auto list = py::cast<std::vector<py::array>>(words);
        const auto mask_list = masks.is_none() ? std::vector<MaybeArray>(list.size()) : py::cast<std::vector<MaybeArray>>(masks);
        if (mask_list.size() != list.size()) fail("masks", "as many as words", std::to_string(mask_list.size()));
        for (std::size_t i = 0; i < list.size(); ++i)
            voters.push_back({words_of(list[i], "words", 1, columns, false).row<Word>(0),
                              maybe_words(mask_list[i], "masks", columns, false), 1});
    }
    if (weights) {
        if (weights->size() != voters.size()) fail("weights", "one a voter", std::to_string(weights->size()));
        std::int64_t sum = 0;
        for (std::size_t i = 0; i < voters.size(); ++i) {
            const std::int64_t w = (*weights)[i];
            if (w > kMaxTotalWeight || w < -kMaxTotalWeight || (sum += std::abs(w)) > kMaxTotalWeight)
                fail("weights", "at most 2**40 in sum of absolute values", std::to_string(w));
            voters[i].weight = w;
        }
    }
    return voters;
}

Decision decision_of(std::size_t d, int tie, std::uint32_t seed, std::uint32_t step, std::uint32_t stream, const py::array& out,
                     const MaybeArray& out_mask) {
    if (tie_of(tie) == Tie::kAbstain && !out_mask) fail("out_mask", "given where tie is 'abstain'", "None");
    return {tie_of(tie), {seed, step, stream, kPurposeTie}, d, words_of(out, "out", 1, num_words(d), true).row<Word>(0),
            maybe_words(out_mask, "out_mask", num_words(d), true)};
}

py::array_t<std::int64_t> counts_of(const std::vector<std::int64_t>& counts) {
    return py::array_t<std::int64_t>(static_cast<py::ssize_t>(counts.size()), counts.data());
}

py::object majority_of(const py::object& words, const py::object& masks, const std::optional<std::vector<std::int64_t>>& weights,
                       std::size_t d, int tie, std::uint32_t seed, std::uint32_t step, std::uint32_t stream, const py::array& out,
                       const MaybeArray& out_mask, bool count_differences) {
    const std::vector<Voter> voters = voters_of(words, masks, weights, d);
    const Decision decision = decision_of(d, tie, seed, step, stream, out, out_mask);
    std::vector<std::int64_t> differences;
    {
        const Release release;
        majority(voters, decision, count_differences ? &differences : nullptr);
    }
    return count_differences ? py::object(counts_of(differences)) : py::none();
}

CodedVote coded_vote_of(const py::array& words, const MaybeArray& masks, const std::vector<std::size_t>& first,
                        const std::vector<std::size_t>& members, std::size_t d, int tie, std::uint32_t seed, std::uint32_t step) {
    const std::vector<Voter> partitions = voters_of(words, masks ? py::object(*masks) : py::none(), std::nullopt, d);
    if (first.empty() || first.front() != 0 || first.back() != members.size()) fail("first", "offsets into members", "others");
    for (std::size_t i = 1; i < first.size(); ++i)
        if (first[i] < first[i - 1]) fail("first", "not decreasing", std::to_string(first[i]));
    for (const std::size_t m : members)
        if (m >= partitions.size()) fail("members", "partition indices", std::to_string(m));
    return {partitions, {first, members}, tie_of(tie), {seed, step, kFirstWorkerStream, kPurposeTie}, d};
}

void local_majorities_of(const py::array& words, const MaybeArray& masks, const std::vector<std::size_t>& first,
                         const std::vector<std::size_t>& members, std::size_t d, int tie, std::uint32_t seed, std::uint32_t step,
                         const py::array& out, const MaybeArray& out_mask) {
    const CodedVote vote = coded_vote_of(words, masks, first, members, d, tie, seed, step);
    const std::size_t n = vote.code.num_workers();
    const bool idle = std::adjacent_find(first.begin(), first.end()) != first.end();
    if ((vote.tie == Tie::kAbstain || idle) && !out_mask) fail("out_mask", "given where ties abstain or a worker is idle", "None");
    const Rows to = words_of(out, "out", n, num_words(d), true);
    const Rows voted = out_mask ? words_of(*out_mask, "out_mask", n, num_words(d), true) : Rows{};
    std::vector<Word*> rows, masked;
    for (std::size_t i = 0; i < n; ++i) {
        rows.push_back(to.row<Word>(i));
        if (out_mask) masked.push_back(voted.row<Word>(i));
    }
    const Release release;
    local_majorities(vote, rows, masked);
}

void coded_majority_of(const py::array& words, const MaybeArray& masks, const std::vector<std::size_t>& first,
                       const std::vector<std::size_t>& members, std::size_t d, int tie, std::uint32_t seed, std::uint32_t step,
                       const py::array& out, const MaybeArray& out_mask) {
    const CodedVote vote = coded_vote_of(words, masks, first, members, d, tie, seed, step);
    const Decision decision = decision_of(d, tie, seed, step, 0, out, out_mask);
    const Release release;
    coded_majority(vote, decision);
}

py::array_t<std::int64_t> disagreement_of(const py::object& words, const py::object& masks, const py::array& winner,
                                          const MaybeArray& winner_mask, std::size_t d) {
    const std::vector<Voter> voters = voters_of(words, masks, std::nullopt, d);
    const Voter result{words_of(winner, "winner", 1, num_words(d), false).row<Word>(0),
                       maybe_words(winner_mask, "winner_mask", num_words(d), false), 1};
    std::vector<std::int64_t> counts;
    {
        const Release release;
        counts = disagreement(voters, result, d);
    }
    return counts_of(counts);
}

void accumulate_into(const py::array& words, const MaybeArray& mask, int kind, const std::vector<py::array>& sums,
                     const std::vector<py::array>& pending, const py::array& rest, std::size_t d) {
    const std::size_t columns = num_words(d);
    const auto dot = choice<DotKind>(kind, 4, "kind");
    if (dot >= DotKind::kRowOrNotMask && !mask) fail("mask", "given for this kind", "None");
    if (sums.size() != pending.size()) fail("pending", "as many as sums", std::to_string(pending.size()));
    std::vector<Word*> sum;
    std::vector<const Word*> waiting;
    for (std::size_t i = 0; i < sums.size(); ++i) {
        sum.push_back(words_of(sums[i], "sums", 1, columns, true).row<Word>(0));
        waiting.push_back(words_of(pending[i], "pending", 1, columns, false).row<Word>(0));
    }
    const AccumulateJob job{{words_of(words, "words", 1, columns, false).row<Word>(0), maybe_words(mask, "mask", columns, false), dot, 0},
                            0, sum.size(), sum.data(), waiting.data(), words_of(rest, "rest", 1, columns, true).row<Word>(0), d};
    const Release release;
    accumulate(job);
}

std::vector<Dot> counters_of(const std::vector<py::array>& rows, const std::vector<int>& planes, std::size_t d) {
    if (rows.size() != planes.size()) fail("planes", "one a row", std::to_string(planes.size()));
    std::vector<Dot> dots;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (planes[i] < 0 || planes[i] > 40 || (i && planes[i] < planes[i - 1])) fail("planes", "0 .. 40, not decreasing", std::to_string(planes[i]));
        dots.push_back({words_of(rows[i], "rows", 1, num_words(d), false).row<Word>(0), nullptr, DotKind::kRow, planes[i]});
    }
    return dots;
}

void counters_majority(const std::vector<py::array>& rows, const std::vector<int>& planes, std::uint64_t maximum, std::size_t d, int tie,
                       std::uint32_t seed, std::uint32_t step, std::uint32_t stream, const py::array& out, const MaybeArray& out_mask) {
    const std::vector<Dot> dots = counters_of(rows, planes, d);
    if (!dots.empty() && (maximum >> dots.back().plane) == 0) fail("maximum", "at least the counters' highest bit", std::to_string(maximum));
    if (maximum > static_cast<std::uint64_t>(2 * kMaxTotalWeight)) fail("maximum", "at most 2**41", std::to_string(maximum));
    const Decision decision = decision_of(d, tie, seed, step, stream, out, out_mask);
    const Release release;
    majority_of_counters(dots, maximum, decision);
}

void counters_margin(const std::vector<py::array>& rows, const std::vector<int>& planes, std::int64_t offset, std::size_t d, const py::array& out) {
    const std::vector<Dot> dots = counters_of(rows, planes, d);
    if (!has_type(out, 'i', 4) || out.ndim() != 1 || static_cast<std::size_t>(out.size()) != d || !is_aligned(out, 4))
        fail("out", "int32, 1-D, of d elements", describe(out));
    if (!dots.empty() && dots.back().plane > 31) fail("planes", "at most 31 for an int32 margin", std::to_string(dots.back().plane));
    const MarginJob job{dots.data(), dots.size(), offset, d, rows_of(out, "out", true).row<std::int32_t>(0)};
    const Release release;
    margin(job);
}

void draw_words(const py::array& out, std::uint32_t seed, std::uint32_t step, std::uint32_t stream, std::uint32_t purpose) {
    const std::size_t n = static_cast<std::size_t>(out.size());
    Word* words = words_of(out, "out", 1, n, true).row<Word>(0);
    const Release release;
    random_words({seed, step, stream, purpose}, words, n);
}

std::uint64_t checksum_of(const py::array& words) {
    const std::size_t n = static_cast<std::size_t>(words.size());
    const Word* data = words_of(words, "words", 1, n, false).row<Word>(0);
    const Release release;
    return checksum(data, n);
}

Word read_of(const py::array& words) {
    const std::size_t n = static_cast<std::size_t>(words.size());
    const Word* data = words_of(words, "words", 1, n, false).row<Word>(0);
    const Release release;
    return read_only(data, n);
}

template <void (*kMove)(const Word*, Word*, std::size_t)>
void move_between(const py::array& from, const py::array& to) {
    const std::size_t n = static_cast<std::size_t>(from.size());
    const Word* source = words_of(from, "source", 1, n, false).row<Word>(0);
    Word* target = words_of(to, "target", 1, n, true).row<Word>(0);
    const Release release;
    kMove(source, target, n);
}

std::vector<std::pair<std::string, bool>> list_instruction_sets() {
    std::vector<std::pair<std::string, bool>> rows;
    for (const InstructionSet& row : instruction_sets()) rows.emplace_back(row.kernels->name, row.available);
    return rows;
}

py::dict build_info() {
    py::dict info;
    info["version"] = ELECTIONCODE_VERSION;
    info["compiler"] = ELECTIONCODE_COMPILER;
    info["flags"] = ELECTIONCODE_FLAGS;
    info["pybind11"] = std::to_string(PYBIND11_VERSION_MAJOR) + "." + std::to_string(PYBIND11_VERSION_MINOR);
#ifdef NDEBUG
    info["assertions"] = false;
#else
    info["assertions"] = true;
#endif
    return info;
}

}  // namespace electioncode::bindings

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
    using namespace electioncode;
    using namespace electioncode::bindings;
    m.def("pack", &pack_rows);
    m.def("pack_tensors", &pack_tensors, py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(),
          py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg("split") = py::none());
    m.def("pack_addresses", &pack_addresses);
    m.def("unpack", &unpack_rows);
    m.def("update_tensors", &update_tensors);
    m.def("update_addresses", &update_addresses);
    m.def("majority", &majority_of);
    m.def("local_majorities", &local_majorities_of);
    m.def("coded_majority", &coded_majority_of);
    m.def("disagreement", &disagreement_of);
    m.def("accumulate", &accumulate_into);
    m.def("counters_majority", &counters_majority);
    m.def("counters_margin", &counters_margin);
    m.def("random_words", &draw_words);
    m.def("checksum", &checksum_of);
    m.def("read", &read_of);
    m.def("copy", &move_between<copy>);
    m.def("rewrite", &move_between<rewrite>);
    m.def("instruction_sets", &list_instruction_sets);
    m.def("instruction_set", [] { return std::string(kernels().name); });
    m.def("set_instruction_set", &set_instruction_set);
    m.def("num_threads", &num_threads);
    m.def("set_num_threads", &set_num_threads);
    m.def("build_info", &build_info);
    kernels();  // a wrong ELECTIONCODE_ISA fails the import, not the first vote
}
