// The operations of the core on raw pointers: plans a vote, cuts it over threads, calls the kernels in use.
// Knows no Python, MPI or torch. All arrays of words have (d + 63) / 64 words a row.
#pragma once

#include <vector>

#include "kernel_table.h"

namespace electioncode {

inline std::size_t num_words(std::size_t d) { return (d + kWordBits - 1) / kWordBits; }

struct Voter {
    const Word* words;
    const Word* mask;  // nullptr: votes everywhere
    std::int64_t weight;
};

struct Decision {
    Tie tie;
    RandomStream random;
    std::size_t d;
    Word* out;
    Word* out_mask;  // needed where tie is kAbstain
};

constexpr std::int64_t kMaxTotalWeight = std::int64_t{1} << 40;

bool pack(const std::vector<PackJob>& jobs);  // true if a NaN was seen
void unpack(UnpackJob job);
void update(const std::vector<UpdateJob>& jobs);

// out = sign of sum_i weight_i * sign_i; the sum of |weight| is at most kMaxTotalWeight.
// differences, if given, gets each voter's disagreement() with the result, read while it is in the cache.
void majority(const std::vector<Voter>& voters, const Decision& decision, std::vector<std::int64_t>* differences = nullptr);

// Majority and margin of counters: dots of plane p count 2^p, `maximum` is the largest possible count.
void majority_of_counters(const std::vector<Dot>& dots, std::uint64_t maximum, const Decision& decision);
void margin(const MarginJob& job);
void accumulate(const AccumulateJob& job);

// Coordinates at which each voter differs from the winner, counted where both voted.
std::vector<std::int64_t> disagreement(const std::vector<Voter>& voters, const Voter& winner, std::size_t d);

void random_words(const RandomStream& stream, Word* out, std::size_t n);
std::uint64_t checksum(const Word* words, std::size_t n);

// For benchmarks: memory's own speed with the kernels and threads in use.
Word read_only(const Word* words, std::size_t n);
void copy(const Word* from, Word* to, std::size_t n);
void rewrite(const Word* from, Word* to, std::size_t n);

}  // namespace electioncode
