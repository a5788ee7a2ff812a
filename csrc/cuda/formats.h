// Floating-point formats: how signs are read off their bits, and how they compute. Two neighbours are moved at a time.
#pragma once

#include "device.h"

namespace electioncode::cuda {

template <typename T>
struct alignas(2 * sizeof(T)) Pair {
    T first, second;
};

// Conversions round to nearest even, on the GPU by its own instructions, elsewhere by integer arithmetic.
EC_DEVICE float half_to_float(std::uint16_t h) {
#ifdef __CUDA_ARCH__
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
#else
    const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000) << 16;
    const std::uint32_t exponent = (h >> 10) & 0x1f, fraction = h & 0x3ff;
    if (exponent == 0x1f) return bits_as<float>(sign | 0x7f800000 | (fraction << 13));
    if (exponent != 0) return bits_as<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
    const float f = static_cast<float>(fraction) * 5.9604644775390625e-8f;  // 2^-24, exact
    return bits_as<float>(bits_as<std::uint32_t>(f) | sign);
#endif
}

EC_DEVICE std::uint16_t float_to_half(float f) {
#ifdef __CUDA_ARCH__
    std::uint16_t h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
    return h;
#else
    std::uint32_t u = bits_as<std::uint32_t>(f);
    const std::uint16_t sign = static_cast<std::uint16_t>((u >> 16) & 0x8000);
    u &= 0x7fffffff;
    if (u > 0x7f800000) return 0x7fff;
    if (u >= 0x477ff000) return static_cast<std::uint16_t>(sign | 0x7c00);  // rounds past 65504
    if (u < 0x33000000) return sign;                                        // below half the smallest subnormal
    const int exponent = static_cast<int>(u >> 23);
    const std::uint32_t fraction = (u & 0x7fffff) | 0x800000;
    const int shift = exponent < 113 ? 126 - exponent : 13;  // bits of the fraction that a half drops
    const std::uint32_t kept = fraction >> shift, rest = fraction & ((1u << shift) - 1), tie = 1u << (shift - 1);
    const std::uint32_t up = rest > tie || (rest == tie && (kept & 1));
    const std::uint32_t base = exponent < 113 ? 0 : static_cast<std::uint32_t>(exponent - 113) << 10;
    return static_cast<std::uint16_t>(sign | (base + kept + up));  // a carry out of the fraction is the next exponent
#endif
}

EC_DEVICE std::uint16_t float_to_bfloat(float f) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    std::uint16_t b;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(b) : "f"(f));
    return b;
#else
    const std::uint32_t u = bits_as<std::uint32_t>(f);
    const std::uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    return static_cast<std::uint16_t>((u & 0x7fffffff) > 0x7f800000 ? 0x7fff : rounded);
#endif
}

// Storage holds the bits, Compute does arithmetic; kSign and kInfinity are bits.
struct Float16 {
    using Storage = std::uint16_t;
    using Compute = float;
    static constexpr Storage kSign = 0x8000, kInfinity = 0x7c00;
    static EC_DEVICE float widen(Storage s) { return half_to_float(s); }
    static EC_DEVICE Storage narrow(float f) { return float_to_half(f); }
};

struct BFloat16 {
    using Storage = std::uint16_t;
    using Compute = float;
    static constexpr Storage kSign = 0x8000, kInfinity = 0x7f80;
    static EC_DEVICE float widen(Storage s) { return bits_as<float>(static_cast<std::uint32_t>(s) << 16); }
    static EC_DEVICE Storage narrow(float f) { return float_to_bfloat(f); }
};

struct Float32 {
    using Storage = std::uint32_t;
    using Compute = float;
    static constexpr Storage kSign = 0x80000000u, kInfinity = 0x7f800000u;
    static EC_DEVICE float widen(Storage s) { return bits_as<float>(s); }
    static EC_DEVICE Storage narrow(float f) { return bits_as<Storage>(f); }
};

struct Float64 {
    using Storage = std::uint64_t;
    using Compute = double;
    static constexpr Storage kSign = std::uint64_t{1} << 63, kInfinity = std::uint64_t{0x7ff} << 52;
    static EC_DEVICE double widen(Storage s) { return bits_as<double>(s); }
    static EC_DEVICE Storage narrow(double f) { return bits_as<Storage>(f); }
};

template <typename F>
EC_DEVICE typename F::Compute rounded(typename F::Compute a) {
    return F::widen(F::narrow(a));
}

// v <- round(round(beta * v) + round(weight * x))
template <typename F>
EC_DEVICE typename F::Storage momentum(typename F::Storage v, typename F::Storage x, typename F::Compute beta,
                                       typename F::Compute weight) {
    return F::narrow(add(rounded<F>(multiply(beta, F::widen(v))), rounded<F>(multiply(weight, F::widen(x)))));
}

// p <- round(round(decay * p) + change)
template <typename F>
EC_DEVICE typename F::Storage moved(typename F::Storage p, typename F::Compute decay, typename F::Compute change) {
    return F::narrow(add(rounded<F>(multiply(decay, F::widen(p))), change));
}

// Coordinates c and c + 1 (c is even), zeros beyond d. kFull: both are below d, and p is aligned to a pair.
template <bool kFull, typename T>
EC_DEVICE Pair<T> load_pair(const T* p, std::size_t c, std::size_t d) {
    if constexpr (kFull) {
        return *reinterpret_cast<const Pair<T>*>(p + c);
    } else {
        return {c < d ? p[c] : T{}, c + 1 < d ? p[c + 1] : T{}};
    }
}

template <bool kFull, typename T>
EC_DEVICE void store_pair(T* p, std::size_t c, std::size_t d, Pair<T> pair) {
    if constexpr (kFull) {
        *reinterpret_cast<Pair<T>*>(p + c) = pair;
    } else {
        if (c < d) p[c] = pair.first;
        if (c + 1 < d) p[c + 1] = pair.second;
    }
}

template <typename T>
EC_DEVICE bool pairs_are_aligned(const T* p) {
    return reinterpret_cast<std::uintptr_t>(p) % sizeof(Pair<T>) == 0;
}

}  // namespace electioncode::cuda
