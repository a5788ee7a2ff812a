// Primitives for AVX2 + F16C.

using Vec = __m256i;
#include "vectors.h"

static inline Vec broadcast(Word w) { return _mm256_set1_epi64x(static_cast<long long>(w)); }
// carry:sum = a + b + c
static inline Vec majority3(Vec a, Vec b, Vec c) { return (a & b) | (c & (a ^ b)); }

// Past the cache; p is aligned. Other threads may read what was streamed after the fence.
static inline void stream(Word* p, Vec a) { _mm256_stream_si256(reinterpret_cast<Vec*>(p), a); }

// The pieces of a 32 x 32 -> 64 bit multiplication in every 64-bit lane.
static inline Vec multiply_low_halves(Vec a, Vec b) { return _mm256_mul_epu32(a, b); }
static inline Vec high_half(Vec a) { return _mm256_srli_epi64(a, 32); }
static inline Vec join_low_halves(Vec low, Vec high) {
    return _mm256_blend_epi32(low, _mm256_slli_epi64(high, 32), 0xaa);
}

// Counts of the two nibbles of every byte by table look-up, then sums of bytes per lane.
static inline Vec add_byte_counts(Vec bytes, Vec a) {
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                           0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(0x0f);
    const __m256i counts = _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(a, low)),
                                           _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(a, 4), low)));
    return _mm256_add_epi8(bytes, counts);
}
static inline Vec add_bytes(Vec total, Vec bytes) {
    return _mm256_add_epi64(total, _mm256_sad_epu8(bytes, _mm256_setzero_si256()));
}
static inline uint64_t sum_lanes(Vec total) {
    Word part[kVecWords];
    store(part, total);
    return part[0] + part[1] + part[2] + part[3];
}

// 32 lanes of all-ones or zero, 4 x 8 of 32 bits each, to 32 bits in lane order.
static inline uint32_t lanes32_to_bits(__m256i a, __m256i b, __m256i c, __m256i d) {
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // undo the per-half interleaving of pack
    return static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_permutevar8x32_epi32(bytes, order)));
}
static inline uint32_t lanes16_to_bits(__m256i a, __m256i b) {
    return static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_permute4x64_epi64(_mm256_packs_epi16(a, b), 0xd8)));
}

// Comparisons of lanes that hold the bits of a floating-point number. Flipping the sign bit turns "greater than -0.0,
// unsigned" into "greater than 0, signed", which AVX2 has.
template <typename F> struct Lanes {
    using Signed = typename std::make_signed<typename F::Bits>::type;
    typedef Signed Mask __attribute__((vector_size(32)));
    static constexpr int kLanes = 32 / sizeof(Signed), kGroup = sizeof(Signed);
    static Mask set(typename F::Bits b) { return Mask{} + static_cast<Signed>(b); }
    static Mask get(const void* x) {
        Mask u;
        std::memcpy(&u, x, sizeof u);
        return u;
    }
    static Mask greater(Mask a, Mask b) { return a > b; }
    static Mask zero(Mask u, Mask magnitude) { return (u & magnitude) == 0; }
    static Mask negative(Mask u, Mask sign) { return (u ^ sign) > 0; }
    static Mask watch(Mask watched, Mask size, Mask infinity) {  // the maximum, or the NaNs: AVX2 has no 64-bit maximum
        return kGroup == 8 ? watched | (size > infinity) : watched > size ? watched : size;
    }
    static bool saw(Mask watched, Mask infinity) {
        const Mask nans = kGroup == 8 ? watched : watched > infinity;
        return !_mm256_testz_si256((__m256i)nans, (__m256i)nans);
    }
    static Word bits(const Mask* m) {
        const auto at = [&](int i) { return (__m256i)m[i]; };
        if constexpr (kGroup == 2) return lanes16_to_bits(at(0), at(1));
        if constexpr (kGroup == 4) return lanes32_to_bits(at(0), at(1), at(2), at(3));
        Word word = 0;
#pragma GCC unroll 8
        for (int i = 0; i < kGroup; ++i)
            word |= static_cast<Word>(_mm256_movemask_pd(_mm256_castsi256_pd(at(i)))) << (4 * i);
        return word;
    }
};

#include "x86.h"

template <typename T> struct Expander : TableExpander<T> {
    using TableExpander<T>::TableExpander;
};
template <> struct Expander<float> {
    __m256 one, zero;

    Expander(float one_, float zero_) : one(_mm256_set1_ps(one_)), zero(_mm256_set1_ps(zero_)) {}
    void operator()(Word word, float* out) const {
        const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        for (int i = 0; i < 8; ++i) {
            const __m256i byte = _mm256_set1_epi32(static_cast<int>((word >> (8 * i)) & 0xff));
            const __m256 set = _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(byte, bit), bit));
            _mm256_storeu_ps(out + 8 * i, _mm256_blendv_ps(zero, one, set));
        }
    }
};

using Floats = __m256;
using Halves = __m128i;
static inline Floats widen(Halves halves) { return _mm256_cvtph_ps(halves); }
static inline Halves narrow(Floats floats) { return _mm256_cvtps_ph(floats, _MM_FROUND_TO_NEAREST_INT); }
static inline Halves narrow_with_one_nan(Floats floats) {
    const Floats nan = _mm256_cmp_ps(floats, floats, _CMP_UNORD_Q);
    return narrow(_mm256_blendv_ps(floats, _mm256_set1_ps(half_to_float(kHalfNan)), nan));
}
