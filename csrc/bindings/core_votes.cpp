// Votes on packed words: majorities, votes over a code, tallies, distances.
#include "../cpu/code_votes.h"
#include "../cpu/ops.h"
#include "core.h"

namespace electioncode::bindings {
namespace {

// Take voters from one 2-D array, or from a sequence of 1-D arrays that lie anywhere; masks may be None, whole or in
// part.
std::vector<Voter> voters_of(const py::object& words, const py::object& masks, const MaybeWeights& weights, size_t d) {
    std::vector<Voter> voters;
    const size_t columns = num_words(coordinates(d));
    if (py::isinstance<py::array>(words)) {
        const auto array = py::reinterpret_borrow<py::array>(words);
        const size_t n = array.ndim() == 2 ? static_cast<size_t>(array.shape(0)) : 1;
        const Rows rows = words_of(array, "words", n, columns, false);
        const Rows voted = masks.is_none() ? Rows{} : words_of(py::cast<py::array>(masks), "masks", n, columns, false);
        for (size_t i = 0; i < n; ++i)
            voters.push_back({rows.row<Word>(i), voted.data ? voted.row<Word>(i) : nullptr, 1});
        if (!masks.is_none() && columns == 0)
            for (Voter& v : voters) v.mask = v.words;
    } else {
        const auto list = py::cast<std::vector<py::array>>(words);
        const auto mask_list =
            masks.is_none() ? std::vector<MaybeArray>(list.size()) : py::cast<std::vector<MaybeArray>>(masks);
        if (mask_list.size() != list.size()) fail("masks", "as many as words", mask_list.size());
        for (size_t i = 0; i < list.size(); ++i)
            voters.push_back(
                {row_of(list[i], "words", columns, false), row_of(mask_list[i], "masks", columns, false), 1});
    }
    set_weights(voters, weights);
    return voters;
}

Decision decision_of(size_t d, int tie, Key seed, Key step, Key stream, const py::array& out,
                     const MaybeArray& out_mask) {
    const size_t columns = num_words(coordinates(d));
    if (tie_of(tie) == Tie::kAbstain && !out_mask) fail("out_mask", "given where tie is 'abstain'", "None");
    const RandomStream random{seed, step, stream, kPurposeTie};
    Word* voted = row_of(out_mask, "out_mask", columns, true);
    return {tie_of(tie), random, d, row_of(out, "out", columns, true), voted};
}

py::array_t<int64_t> counts_of(const std::vector<int64_t>& counts) {
    return py::array_t<int64_t>(static_cast<py::ssize_t>(counts.size()), counts.data());
}

py::object majority_of(const py::object& words, const py::object& masks, const MaybeWeights& weights, size_t d, int tie,
                       Key seed, Key step, Key stream, const py::array& out, const MaybeArray& out_mask,
                       bool count_differences) {
    const std::vector<Voter> voters = voters_of(words, masks, weights, d);
    const Decision decision = decision_of(d, tie, seed, step, stream, out, out_mask);
    std::vector<int64_t> differences;
    {
        const Release release;
        majority(voters, decision, count_differences ? &differences : nullptr);
    }
    return count_differences ? py::object(counts_of(differences)) : py::none();
}

CodedVote coded_vote_of(const py::array& words, const MaybeArray& masks, const Indices& first, const Indices& members,
                        size_t d, int tie, Key seed, Key step) {
    const std::vector<Voter> partitions = voters_of(words, masks ? py::object(*masks) : py::none(), std::nullopt, d);
    const RandomStream random{seed, step, kFirstWorkerStream, kPurposeTie};
    return {partitions, code_of(first, members, partitions.size(), members.size()), tie_of(tie), random, d};
}

void local_majorities_of(const py::array& words, const MaybeArray& masks, const Indices& first, const Indices& members,
                         size_t d, int tie, Key seed, Key step, const py::array& out, const MaybeArray& out_mask) {
    const CodedVote vote = coded_vote_of(words, masks, first, members, d, tie, seed, step);
    const size_t n = vote.code.num_workers();
    if ((vote.tie == Tie::kAbstain || has_idle_worker(vote.code)) && !out_mask)
        fail("out_mask", "given where ties abstain or a worker is idle", "None");
    const Rows to = words_of(out, "out", n, num_words(d), true);
    const Rows voted = out_mask ? words_of(*out_mask, "out_mask", n, num_words(d), true) : Rows{};
    std::vector<Word*> rows, masked;
    for (size_t i = 0; i < n; ++i) {
        rows.push_back(to.row<Word>(i));
        if (out_mask) masked.push_back(voted.row<Word>(i));
    }
    const Release release;
    local_majorities(vote, rows, masked);
}

void coded_majority_of(const py::array& words, const MaybeArray& masks, const Indices& first, const Indices& members,
                       size_t d, int tie, Key seed, Key step, const py::array& out, const MaybeArray& out_mask) {
    const CodedVote vote = coded_vote_of(words, masks, first, members, d, tie, seed, step);
    const Decision decision = decision_of(d, tie, seed, step, 0, out, out_mask);
    const Release release;
    coded_majority(vote, decision);
}

py::array_t<int64_t> disagreement_of(const py::object& words, const py::object& masks, const py::array& winner,
                                     const MaybeArray& winner_mask, size_t d) {
    const std::vector<Voter> voters = voters_of(words, masks, std::nullopt, d);
    const Voter result{row_of(winner, "winner", num_words(d), false),
                       row_of(winner_mask, "winner_mask", num_words(d), false), 1};
    std::vector<int64_t> counts;
    {
        const Release release;
        counts = disagreement(voters, result, d);
    }
    return counts_of(counts);
}

void accumulate_into(const py::array& words, const MaybeArray& mask, int kind, const std::vector<py::array>& sums,
                     const std::vector<py::array>& pending, const py::array& rest, size_t d) {
    const size_t columns = num_words(coordinates(d));
    const auto dot = choice<DotKind>(kind, 4, "kind");
    if (dot >= DotKind::kRowOrNotMask && !mask) fail("mask", "given for this kind", "None");
    if (sums.size() != pending.size()) fail("pending", "as many as sums", pending.size());
    std::vector<Word*> sum;
    std::vector<const Word*> waiting;
    for (size_t i = 0; i < sums.size(); ++i) {
        sum.push_back(row_of(sums[i], "sums", columns, true));
        waiting.push_back(row_of(pending[i], "pending", columns, false));
    }
    const Dot source{row_of(words, "words", columns, false), row_of(mask, "mask", columns, false), dot, 0};
    const AccumulateJob job{source, sum.size(), sum.data(), waiting.data(), row_of(rest, "rest", columns, true), d};
    const Release release;
    accumulate(job);
}

std::vector<Dot> counters_of(const std::vector<py::array>& rows, const std::vector<int>& planes, size_t d) {
    if (rows.size() != planes.size()) fail("planes", "one per row", planes.size());
    std::vector<Dot> dots;
    for (size_t i = 0; i < rows.size(); ++i) {
        if (planes[i] < 0 || planes[i] > 40 || (i && planes[i] < planes[i - 1]))
            fail("planes", "0 .. 40, not decreasing", planes[i]);
        const Word* words = row_of(rows[i], "rows", num_words(coordinates(d)), false);
        dots.push_back({words, nullptr, DotKind::kRow, planes[i]});
    }
    return dots;
}

void counters_majority(const std::vector<py::array>& rows, const std::vector<int>& planes, uint64_t maximum, size_t d,
                       int tie, Key seed, Key step, Key stream, const py::array& out, const MaybeArray& out_mask) {
    const std::vector<Dot> dots = counters_of(rows, planes, d);
    check_maximum(maximum, dots);
    const Decision decision = decision_of(d, tie, seed, step, stream, out, out_mask);
    const Release release;
    majority_of_counters(dots, maximum, decision);
}

void counters_margin(const std::vector<py::array>& rows, const std::vector<int>& planes, int64_t offset, size_t d,
                     const py::array& out) {
    const std::vector<Dot> dots = counters_of(rows, planes, d);
    if (!has_type(out, 'i', 4) || out.ndim() != 1 || static_cast<size_t>(out.size()) != d || !is_aligned(out, 4))
        fail("out", "int32, 1-D, of d elements", describe(out));
    if (!dots.empty() && dots.back().plane > 31) fail("planes", "at most 31 for an int32 margin", dots.back().plane);
    const MarginJob job{dots.data(), dots.size(), offset, d, rows_of(out, "out", true).row<int32_t>(0)};
    const Release release;
    margin(job);
}

}  // namespace

void define_votes(py::module_& m) {
    m.def("majority", &majority_of);
    m.def("local_majorities", &local_majorities_of);
    m.def("coded_majority", &coded_majority_of);
    m.def("disagreement", &disagreement_of);
    m.def("accumulate", &accumulate_into);
    m.def("counters_majority", &counters_majority);
    m.def("counters_margin", &counters_margin);
}

}  // namespace electioncode::bindings
