// The operations of the core on raw pointers: plan a vote, cut it over threads, call the kernels in use.
// All arrays of words have num_words(d) words per row.
#pragma once

#include <vector>

#include "../plan/voters.h"
#include "kernel_table.h"

namespace electioncode {

bool pack(const std::vector<PackJob>& jobs);  // true if a NaN was seen
void unpack(UnpackJob job);
void update(const std::vector<UpdateJob>& jobs);

// out = sign of sum_i weight_i * sign_i; the sum of |weight| is at most kMaxTotalWeight.
// differences, if given, gets each voter's disagreement() with the result, read while it is in the cache.
void majority(const std::vector<Voter>& voters, const Decision& decision, std::vector<int64_t>* differences = nullptr);

// Majority and margin of counters: dots of plane p count 2^p, `maximum` is the largest possible count.
void majority_of_counters(const std::vector<Dot>& dots, uint64_t maximum, const Decision& decision);
void margin(const MarginJob& job);
void accumulate(const AccumulateJob& job);

// Return at how many coordinates each voter differs from the winner, counted where both voted.
std::vector<int64_t> disagreement(const std::vector<Voter>& voters, const Voter& winner, size_t d);

void random_words(const RandomStream& stream, Word* out, size_t n);
uint64_t checksum(const Word* words, size_t n);

// Memory's own speed with the kernels and threads in use, for benchmarks.
Word read_only(const Word* words, size_t n);
void copy(const Word* from, Word* to, size_t n);
void rewrite(const Word* from, Word* to, size_t n);

// For operations alone: a plan as a kernel takes it, and n words of the calling thread, 64-byte aligned, that live
// until its next call.
VoteJob job_of(const Plan& plan, const Decision& decision);
Word* scratch_words(size_t n);

}  // namespace electioncode
