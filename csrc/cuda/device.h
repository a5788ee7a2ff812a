// What kernels are written in: threads, warps and Philox. nvcc compiles them for the GPU; a C++ compiler compiles the
// same files for the CPU, where grid, block and warp are loops (the emulation), so that tests see every kernel's
// arithmetic and every access.
#pragma once

#include "../half.h"

#ifdef __CUDACC__
#define EC_DEVICE __device__ __forceinline__
#define EC_UNROLL _Pragma("unroll")
#define EC_UNROLL_BY_8 _Pragma("unroll 8")
#else
#include <bit>
#define EC_DEVICE inline
#define EC_UNROLL
#define EC_UNROLL_BY_8
#endif

namespace electioncode::cuda {

constexpr int kWarp = 32;

// One thread of a launch. `shared` is the block's dynamic shared memory.
struct Thread {
    size_t index;  // within the grid
    int in_block, block_size;
    Word* shared;
};

#ifdef __CUDACC__

// A value that each lane of a warp has for itself.
template <typename T> struct PerLane {
    T value;
    EC_DEVICE T& operator[](int) { return value; }
};

struct Warp {
    size_t index;  // within the grid

    EC_DEVICE Warp(const Thread& t) : index(t.index / kWarp) {}

    template <typename F> EC_DEVICE void each(F work) const { work(static_cast<int>(threadIdx.x % kWarp)); }
    template <typename F> EC_DEVICE uint32_t ballot(F predicate) const {
        return __ballot_sync(0xffffffffu, predicate(static_cast<int>(threadIdx.x % kWarp)));
    }
    EC_DEVICE uint32_t sum(PerLane<uint32_t>& value) const {
        uint32_t total = value.value;
        EC_UNROLL
        for (int offset = kWarp / 2; offset > 0; offset /= 2) total += __shfl_xor_sync(0xffffffffu, total, offset);
        return total;
    }
};

EC_DEVICE void add_atomically(int64_t* to, uint64_t value) {
    atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
}
EC_DEVICE int count_ones(Word w) { return __popcll(w); }
EC_DEVICE uint32_t multiply_high(uint32_t a, uint32_t b) { return __umulhi(a, b); }
// Read what nobody reads again: the cache is for others.
EC_DEVICE Word load_once(const Word* p) {
    return static_cast<Word>(__ldcs(reinterpret_cast<const unsigned long long*>(p)));
}
// Never contracted to a fused multiply-add, whatever the flags.
EC_DEVICE float multiply(float a, float b) { return __fmul_rn(a, b); }
EC_DEVICE double multiply(double a, double b) { return __dmul_rn(a, b); }
EC_DEVICE float add(float a, float b) { return __fadd_rn(a, b); }
EC_DEVICE double add(double a, double b) { return __dadd_rn(a, b); }

#else

template <typename T> struct PerLane {
    T value[kWarp];
    T& operator[](int lane) { return value[lane]; }
};

struct Warp {
    size_t index;

    template <typename F> void each(F work) const {
        for (int lane = 0; lane < kWarp; ++lane) work(lane);
    }
    template <typename F> uint32_t ballot(F predicate) const {
        uint32_t bits = 0;
        for (int lane = 0; lane < kWarp; ++lane) bits |= static_cast<uint32_t>(predicate(lane)) << lane;
        return bits;
    }
    uint32_t sum(PerLane<uint32_t>& value) const {
        uint32_t total = 0;
        for (const uint32_t v : value.value) total += v;
        return total;
    }
};

inline void add_atomically(int64_t* to, uint64_t value) { *to += static_cast<int64_t>(value); }
inline int count_ones(Word w) { return std::popcount(w); }
inline uint32_t multiply_high(uint32_t a, uint32_t b) { return static_cast<uint32_t>(uint64_t{a} * b >> 32); }
inline Word load_once(const Word* p) { return *p; }
inline float multiply(float a, float b) { return a * b; }  // built with -ffp-contract=off
inline double multiply(double a, double b) { return a * b; }
inline float add(float a, float b) { return a + b; }
inline double add(double a, double b) { return a + b; }

#endif

EC_DEVICE Word random_word(const RandomStream& stream, uint64_t word) {  // Philox4x32-10
    uint32_t c0 = static_cast<uint32_t>(word), c1 = static_cast<uint32_t>(word >> 32);
    uint32_t c2 = stream.stream, c3 = stream.purpose, k0 = stream.seed, k1 = stream.step;
    EC_UNROLL
    for (int round = 0; round < 10; ++round) {
        constexpr uint32_t m0 = 0xD2511F53u, m1 = 0xCD9E8D57u;
        const uint32_t high0 = multiply_high(c0, m0), low0 = c0 * m0;
        const uint32_t high1 = multiply_high(c2, m1), low1 = c2 * m1;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c0 | static_cast<Word>(c1) << 32;
}

}  // namespace electioncode::cuda
