// Bit-sliced counters in registers: plane p holds bit p of 64 counts. A full adder on words is two LOP3 per half.
#pragma once

#include "device.h"

namespace electioncode::cuda {

constexpr int kGroup = 16;  // rows that are read together

EC_DEVICE Word xor3(Word a, Word b, Word c) { return a ^ b ^ c; }
EC_DEVICE Word majority3(Word a, Word b, Word c) { return (a & b) | (c & (a ^ b)); }

// Add N bits of weight 2^plane to plane[0]; its carries go one plane up. What does not fit kPlanes is zero.
template <int kPlanes, int N> EC_DEVICE void add_column(Word* plane, Word* x) {
    if constexpr (kPlanes > 0) {
        constexpr int kCarries = (N + 1) / 2;
        Word sum = plane[0], carry[kCarries];
        EC_UNROLL
        for (int i = 0; i < N / 2; ++i) {
            carry[i] = majority3(sum, x[2 * i], x[2 * i + 1]);
            sum = xor3(sum, x[2 * i], x[2 * i + 1]);
        }
        if constexpr (N % 2 == 1) {
            carry[kCarries - 1] = sum & x[N - 1];
            sum ^= x[N - 1];
        }
        plane[0] = sum;
        add_column<kPlanes - 1, kCarries>(plane + 1, carry);
    }
}

template <int kPlanes> struct Counter {
    Word plane[kPlanes];

    EC_DEVICE void clear() {
        EC_UNROLL
        for (int p = 0; p < kPlanes; ++p) plane[p] = 0;
    }
    template <int N> EC_DEVICE void add(Word* x) { add_column<kPlanes, N>(plane, x); }
    EC_DEVICE void twice() {
        EC_UNROLL
        for (int p = kPlanes - 1; p > 0; --p) plane[p] = plane[p - 1];
        plane[0] = 0;
    }
    // count > limit, from the lowest plane up: a set bit of the limit asks for this plane, a clear one is beaten by it.
    EC_DEVICE Word exceeds(uint64_t limit) const {
        Word result = 0;
        EC_UNROLL
        for (int p = 0; p < kPlanes; ++p) result = (limit >> p) & 1 ? result & plane[p] : result | plane[p];
        return result;
    }
};

struct Verdict {
    Word winner;
    Word voted;  // zeros where a tie abstains
};

// Decide by counts of up to `maximum`, of which half is a tie. w is the word's index, the random counter.
template <int kPlanes> EC_DEVICE Verdict decide(const Counter<kPlanes>& counter, uint64_t maximum, Tie tie,
                                                const RandomStream& random, size_t w, Word valid) {
    Word winner = counter.exceeds(majority_limit(maximum, false)), ties = 0;
    if (maximum == 0) {  // nobody has a weight
        ties = ~Word{0};
    } else if (maximum % 2 == 0) {
        ties = counter.exceeds(majority_limit(maximum, true)) & ~winner;
    }
    ties &= valid;
    winner &= valid;
    if (tie == Tie::kPlus) winner |= ties;
    if (tie == Tie::kRandom && ties) winner |= ties & random_word(random, w);
    return {winner, tie == Tie::kAbstain ? valid & ~ties : valid};
}

}  // namespace electioncode::cuda
