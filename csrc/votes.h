// The words, policies and jobs that both devices share. Compiled as C++20 for the CPU and as C++17 by nvcc.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <cstring>
#include <vector>

// A function that both devices compile. Static on the CPU, where each translation unit keeps its own copy: code
// compiled for AVX-512 must never end up behind a symbol that every machine calls.
#ifdef __CUDACC__
#define ELECTIONCODE_SHARED __host__ __device__ __forceinline__
#else
#define ELECTIONCODE_SHARED static inline
#endif

namespace electioncode {

using Word = uint64_t;
constexpr size_t kWordBits = 64;

enum class Dtype : int { kFloat16, kBFloat16, kFloat32, kFloat64, kInt8 };
enum class Zero : int { kPlus, kMinus, kRandom, kAbstain };
enum class Nan : int { kRaise, kMinus, kAbstain };
enum class Tie : int { kPlus, kMinus, kRandom, kAbstain };

constexpr int64_t kMaxTotalWeight = int64_t{1} << 40;  // the most that |weights| may add up to

// Return the words in a row of d coordinates.
ELECTIONCODE_SHARED constexpr size_t num_words(size_t d) { return (d + kWordBits - 1) / kWordBits; }

// Return the bits of word w that belong to one of d coordinates; padding bits stay 0.
ELECTIONCODE_SHARED constexpr Word valid_bits(size_t d, size_t w) {
    return (w + 1) * kWordBits <= d ? ~Word{0} : (Word{1} << (d % kWordBits)) - 1;
}

// Return how many bits hold counts of up to n.
ELECTIONCODE_SHARED constexpr int bit_length(uint64_t n) {
    int length = 0;
    for (; n; n >>= 1) ++length;
    return length;
}

// Return what a count of up to `maximum` must exceed to win or, with `half`, to win or tie.
ELECTIONCODE_SHARED constexpr uint64_t majority_limit(uint64_t maximum, bool half) {
    return half && maximum % 2 == 0 ? maximum / 2 - 1 : maximum / 2;
}

ELECTIONCODE_SHARED constexpr size_t element_bytes(Dtype dtype) {
    return dtype == Dtype::kFloat64 ? 8 : dtype == Dtype::kFloat32 ? 4 : dtype == Dtype::kInt8 ? 1 : 2;
}

// Philox4x32-10: key (seed, step), counter (word index, stream, purpose).
struct RandomStream {
    uint32_t seed, step, stream, purpose;
};

struct Voter {
    const Word* words;
    const Word* mask;  // nullptr: votes everywhere
    int64_t weight;
};

struct Decision {
    Tie tie;
    RandomStream random;
    size_t d;
    Word *out, *out_mask;  // out_mask: needed where tie is kAbstain
};

// Worker i holds the partitions members[first[i] .. first[i + 1]); its ties draw from stream + i.
struct Code {
    std::vector<size_t> first, members;

    size_t num_workers() const { return first.size() - 1; }
    size_t load(size_t worker) const { return first[worker + 1] - first[worker]; }
};

// Take the signs of x or, when v is given, of the momentum v <- beta * v + weight * x (x and v share a dtype).
// With `split`, the signs are still of that sum, but v <- split_beta * v + split_weight * x (Lion).
struct PackJob {
    const void* x = nullptr;
    void* v = nullptr;
    Dtype dtype = Dtype::kFloat32;
    size_t d = 0;
    double beta = 0, weight = 0;
    bool negate = false;  // signs of -x; with momentum the sign lies in `weight`
    Zero zero = Zero::kPlus;
    Nan nan = Nan::kRaise;
    RandomStream random{};
    size_t first_word = 0;  // index of x's first word within the whole vector: the random counter
    Word* words = nullptr;
    Word* mask = nullptr;  // nullptr where every coordinate votes
    bool split = false;
    double split_beta = 0, split_weight = 0;
};

struct UnpackJob {
    const Word *words, *mask;
    size_t d;
    Dtype dtype;
    void* out;
    bool streams = false;  // out is too large for the cache
};

// p <- decay * p, then p <- p + step * sign: each product and sum rounded to p's dtype.
struct UpdateJob {
    void* p;
    Dtype dtype;
    size_t d;
    double decay, step;
    const Word *words, *mask;
};

// One bit to count at every coordinate, worth 2^plane.
enum class DotKind : int { kRow, kNotRow, kRowOrNotMask, kMaskAndNotRow };
struct Dot {
    const Word *words, *mask;
    DotKind kind;
    int plane;
};

// Add one dot to carry-save counters: per level sum[l] <- sum ^ pending ^ carry, carry <- majority;
// the last carry goes to `rest`, which may be pending[0].
struct AccumulateJob {
    Dot source;
    size_t num_levels;
    Word* const* sum;
    const Word* const* pending;
    Word* rest;
    size_t d;
};

struct MarginJob {
    const Dot* dots;
    size_t num_dots;
    int64_t offset;  // out = count - offset
    size_t d;
    int32_t* out;
};

}  // namespace electioncode
