// Floating-point formats: how their bits hold signs, and how they compute. Two neighbours are moved at a time.
#pragma once

#include "device.h"

namespace electioncode::cuda {

template <typename T> struct alignas(2 * sizeof(T)) Pair {
    T first, second;
};

// Storage holds the bits, Compute does arithmetic; kSign and kInfinity are bits.
struct Float16 {
    using Storage = uint16_t;
    using Compute = float;
    static constexpr Storage kSign = 0x8000, kInfinity = kHalfInfinity, kOne = 0x3c00;
    static EC_DEVICE float widen(Storage s) { return half_to_float(s); }
    static EC_DEVICE Storage narrow(float f) { return float_to_half(f); }
};

struct BFloat16 {
    using Storage = uint16_t;
    using Compute = float;
    static constexpr Storage kSign = 0x8000, kInfinity = kBFloatInfinity, kOne = 0x3f80;
    static EC_DEVICE float widen(Storage s) { return bfloat_to_float(s); }
    static EC_DEVICE Storage narrow(float f) { return float_to_bfloat(f); }
};

template <typename U, typename C, U kSignBit, U kInfinityBits, U kOneBits> struct Native {
    using Storage = U;
    using Compute = C;
    static constexpr Storage kSign = kSignBit, kInfinity = kInfinityBits, kOne = kOneBits;
    static EC_DEVICE C widen(Storage s) { return bits_as<C>(s); }
    static EC_DEVICE Storage narrow(C f) { return bits_as<Storage>(f); }
};
using Float32 = Native<uint32_t, float, 0x80000000u, 0x7f800000u, 0x3f800000u>;
using Float64 = Native<uint64_t, double, 0x8000000000000000u, 0x7ff0000000000000u, 0x3ff0000000000000u>;

// Call work with the format of a dtype.
template <typename Work> void with_format(Dtype dtype, Work work) {
    switch (dtype) {
        case Dtype::kFloat16: return work(Float16{});
        case Dtype::kBFloat16: return work(BFloat16{});
        case Dtype::kFloat64: return work(Float64{});
        default: return work(Float32{});
    }
}

template <typename F> EC_DEVICE typename F::Compute rounded(typename F::Compute a) { return F::widen(F::narrow(a)); }

// v <- round(round(beta * v) + round(weight * x))
template <typename F> EC_DEVICE typename F::Storage momentum(typename F::Storage v, typename F::Storage x,
                                                             typename F::Compute beta, typename F::Compute weight) {
    return F::narrow(add(rounded<F>(multiply(beta, F::widen(v))), rounded<F>(multiply(weight, F::widen(x)))));
}

// p <- round(round(decay * p) + change)
template <typename F>
EC_DEVICE typename F::Storage moved(typename F::Storage p, typename F::Compute decay, typename F::Compute change) {
    return F::narrow(add(rounded<F>(multiply(decay, F::widen(p))), change));
}

// Load coordinates c and c + 1 (c is even), zeros beyond d. kFull: both are below d, and p is aligned to a pair.
template <bool kFull, typename T> EC_DEVICE Pair<T> load_pair(const T* p, size_t c, size_t d) {
    if constexpr (kFull) return *reinterpret_cast<const Pair<T>*>(p + c);
    return {c < d ? p[c] : T{}, c + 1 < d ? p[c + 1] : T{}};
}

template <bool kFull, typename T> EC_DEVICE void store_pair(T* p, size_t c, size_t d, Pair<T> pair) {
    if constexpr (kFull) {
        *reinterpret_cast<Pair<T>*>(p + c) = pair;
    } else {
        if (c < d) p[c] = pair.first;
        if (c + 1 < d) p[c + 1] = pair.second;
    }
}

template <typename T> EC_DEVICE bool pairs_are_aligned(const T* p) {
    return reinterpret_cast<uintptr_t>(p) % sizeof(Pair<T>) == 0;
}

}  // namespace electioncode::cuda
