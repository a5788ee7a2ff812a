// Conversions between float and the 16-bit formats. Every device stores the bits that these give.
//
// They round to nearest even. A NaN is stored as the format's one NaN, without sign or payload: what arithmetic makes
// of those depends on the machine (inf - inf is negative on x86 and positive on Arm; a GPU drops every payload).
#pragma once

#include "votes.h"

namespace electioncode {

constexpr uint16_t kHalfInfinity = 0x7c00, kHalfNan = 0x7e00, kBFloatInfinity = 0x7f80, kBFloatNan = 0x7fc0;

template <typename To, typename From> ELECTIONCODE_SHARED To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

ELECTIONCODE_SHARED uint16_t with_one_nan(uint16_t bits, uint16_t infinity, uint16_t nan) {
    return (bits & 0x7fff) > infinity ? nan : bits;
}

ELECTIONCODE_SHARED float half_to_float(uint16_t h) {
#ifdef __CUDA_ARCH__
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
#else
    const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
    const uint32_t exponent = (h >> 10) & 0x1f, fraction = h & 0x3ff;
    if (exponent == 0x1f) return bits_as<float>(sign | 0x7f800000 | (fraction << 13));
    if (exponent != 0) return bits_as<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
    const float f = static_cast<float>(fraction) * 5.9604644775390625e-8f;  // 2^-24, exact
    return bits_as<float>(bits_as<uint32_t>(f) | sign);
#endif
}

ELECTIONCODE_SHARED uint16_t float_to_half(float f) {
#ifdef __CUDA_ARCH__
    uint16_t h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
    return with_one_nan(h, kHalfInfinity, kHalfNan);
#else
    uint32_t u = bits_as<uint32_t>(f);
    const uint16_t sign = static_cast<uint16_t>((u >> 16) & 0x8000);
    u &= 0x7fffffff;
    if (u > 0x7f800000) return kHalfNan;
    if (u >= 0x477ff000) return static_cast<uint16_t>(sign | kHalfInfinity);  // rounds past 65504
    if (u < 0x33000000) return sign;                                          // below half the smallest subnormal
    const int exponent = static_cast<int>(u >> 23);
    const uint32_t fraction = (u & 0x7fffff) | 0x800000;
    const int shift = exponent < 113 ? 126 - exponent : 13;  // bits of the fraction that a half drops
    const uint32_t kept = fraction >> shift, rest = fraction & ((1u << shift) - 1), tie = 1u << (shift - 1);
    const uint32_t up = rest > tie || (rest == tie && (kept & 1));
    const uint32_t base = exponent < 113 ? 0 : static_cast<uint32_t>(exponent - 113) << 10;
    return static_cast<uint16_t>(sign | (base + kept + up));  // a carry out of the fraction is the next exponent
#endif
}

ELECTIONCODE_SHARED float bfloat_to_float(uint16_t b) { return bits_as<float>(static_cast<uint32_t>(b) << 16); }

ELECTIONCODE_SHARED uint16_t float_to_bfloat(float f) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    uint16_t b;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(b) : "f"(f));
    return with_one_nan(b, kBFloatInfinity, kBFloatNan);
#else
    const uint32_t u = bits_as<uint32_t>(f);
    const uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    return static_cast<uint16_t>((u & 0x7fffffff) > 0x7f800000 ? uint32_t{kBFloatNan} : rounded);
#endif
}

}  // namespace electioncode
