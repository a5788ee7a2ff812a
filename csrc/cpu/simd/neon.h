// Primitives for AArch64 NEON.

using Vec = uint64x2_t;
#include "vectors.h"

static inline Vec broadcast(Word w) { return vdupq_n_u64(w); }
// carry:sum = a + b + c; where a and b differ the carry is c, elsewhere it is b
static inline Vec majority3(Vec a, Vec b, Vec c) { return vbslq_u64(a ^ b, c, b); }

static inline void stream(Word* p, Vec a) { store(p, a); }
static inline void stream_fence() {}
static inline void prefetch(const void* p) { __builtin_prefetch(p); }

// The pieces of a 32 x 32 -> 64 bit multiplication in every 64-bit lane.
static inline Vec multiply_low_halves(Vec a, Vec b) { return vmull_u32(vmovn_u64(a), vmovn_u64(b)); }
static inline Vec high_half(Vec a) { return vshrq_n_u64(a, 32); }
static inline Vec join_low_halves(Vec low, Vec high) { return vsliq_n_u64(low, high, 32); }

static inline Vec add_byte_counts(Vec bytes, Vec a) {
    return vreinterpretq_u64_u8(vaddq_u8(vreinterpretq_u8_u64(bytes), vcntq_u8(vreinterpretq_u8_u64(a))));
}
static inline Vec add_bytes(Vec total, Vec bytes) {
    return vpadalq_u32(total, vpaddlq_u16(vpaddlq_u8(vreinterpretq_u8_u64(bytes))));
}
static inline uint64_t sum_lanes(Vec total) { return vaddvq_u64(total); }

// 64 bytes of all-ones or zero to 64 bits: weigh every byte by its bit, then three rounds of pairwise sums.
static inline Word bytes_to_bits(uint8x16_t a, uint8x16_t b, uint8x16_t c, uint8x16_t d) {
    const uint8x16_t weight = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t ab = vpaddq_u8(vandq_u8(a, weight), vandq_u8(b, weight));
    const uint8x16_t cd = vpaddq_u8(vandq_u8(c, weight), vandq_u8(d, weight));
    const uint8x16_t abcd = vpaddq_u8(ab, cd);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(abcd, abcd)), 0);
}

// Comparisons of lanes that hold the bits of a floating-point number; narrowed, those of sixteen coordinates are
// sixteen bytes.
template <typename F> struct Lanes {
    using Bits = typename F::Bits;
    using V = std::conditional_t<sizeof(Bits) == 2, uint16x8_t,
                                 std::conditional_t<sizeof(Bits) == 4, uint32x4_t, uint64x2_t>>;
    static constexpr int kParts = sizeof(Bits);
    static V set(Bits b) { return V{} + b; }
    static V get(const typename F::Storage* x) {
        V u;
        std::memcpy(&u, x, sizeof u);
        return u;
    }
    static uint8x16_t bytes(const V* m) { return narrowed(m); }

private:
    static uint8x16_t narrowed(const uint16x8_t* m) { return vcombine_u8(vmovn_u16(m[0]), vmovn_u16(m[1])); }
    static uint8x16_t narrowed(const uint32x4_t* m) {
        const uint16x8_t halves[2] = {vcombine_u16(vmovn_u32(m[0]), vmovn_u32(m[1])),
                                      vcombine_u16(vmovn_u32(m[2]), vmovn_u32(m[3]))};
        return narrowed(halves);
    }
    static uint8x16_t narrowed(const uint64x2_t* m) {
        uint32x4_t words[4];
        for (int i = 0; i < 4; ++i) words[i] = vcombine_u32(vmovn_u64(m[2 * i]), vmovn_u64(m[2 * i + 1]));
        return narrowed(words);
    }
};

// Signs of 64 coordinates by integer comparison: see scalar.h.
template <typename F> static inline SignMasks sign_masks(const typename F::Storage* x) {
    using L = Lanes<F>;
    const auto sign = L::set(F::kSign), magnitude = L::set(F::kMagnitude), infinity = L::set(F::kInfinity);
    uint8x16_t negative[4], zeros[4], nans[4];
    for (int q = 0; q < 4; ++q) {
        typename L::V n[L::kParts], z[L::kParts], a[L::kParts];
        for (int j = 0; j < L::kParts; ++j) {
            const auto u = L::get(x + 16 * q + 16 / L::kParts * j), size = u & magnitude;
            n[j] = (typename L::V)(u > sign);
            z[j] = (typename L::V)(size == 0);
            a[j] = (typename L::V)(size > infinity);
        }
        negative[q] = L::bytes(n);
        zeros[q] = L::bytes(z);
        nans[q] = L::bytes(a);
    }
    return {bytes_to_bits(negative[0], negative[1], negative[2], negative[3]),
            bytes_to_bits(zeros[0], zeros[1], zeros[2], zeros[3]), bytes_to_bits(nans[0], nans[1], nans[2], nans[3])};
}

template <typename F> struct SignReader {  // see scalar.h
    Word nans = 0;

    Word negative(const typename F::Storage* x) {
        const SignMasks m = sign_masks<F>(x);
        nans |= m.nan;
        return m.negative;
    }
    bool saw_nan() const { return nans != 0; }
};

template <typename T> struct Expander : TableExpander<T> {
    using TableExpander<T>::TableExpander;
};
template <> struct Expander<float> {
    float32x4_t one, zero;

    Expander(float one_, float zero_) : one(vdupq_n_f32(one_)), zero(vdupq_n_f32(zero_)) {}
    void operator()(Word word, float* out) const {
        const uint32x4_t bit = {1, 2, 4, 8};
        for (int i = 0; i < 64; i += 4) {
            const uint32x4_t nibble = vdupq_n_u32(static_cast<uint32_t>((word >> i) & 0xf));
            vst1q_f32(out + i, vbslq_f32(vtstq_u32(nibble, bit), one, zero));
        }
    }
};

using Floats = float32x4_t;
using Halves = uint16x4_t;
static inline Floats widen(Halves halves) { return vcvt_f32_f16(vreinterpret_f16_u16(halves)); }
static inline Halves narrow(Floats floats) { return vreinterpret_u16_f16(vcvt_f16_f32(floats)); }
static inline Halves narrow_with_one_nan(Floats floats) {
    return narrow(vbslq_f32(vceqq_f32(floats, floats), floats, vdupq_n_f32(half_to_float(kHalfNan))));
}
