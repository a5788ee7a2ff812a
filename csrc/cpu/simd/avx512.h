// Primitives for AVX-512 F + BW + DQ + VL.

using Vec = __m512i;
#include "vectors.h"

static inline Vec broadcast(Word w) { return _mm512_set1_epi64(static_cast<long long>(w)); }
// One instruction each: the immediate is the truth table. carry:sum = a + b + c
static inline Vec or_not(Vec a, Vec b) { return _mm512_ternarylogic_epi64(a, b, b, 0xf3); }
static inline Vec xor3(Vec a, Vec b, Vec c) { return _mm512_ternarylogic_epi64(a, b, c, 0x96); }
static inline Vec majority3(Vec a, Vec b, Vec c) { return _mm512_ternarylogic_epi64(a, b, c, 0xe8); }

static inline Vec load_part(const Word* p, size_t n) {
    return _mm512_maskz_loadu_epi64(static_cast<__mmask8>((1u << n) - 1), p);
}
static inline void store_part(Word* p, Vec a, size_t n) {
    _mm512_mask_storeu_epi64(p, static_cast<__mmask8>((1u << n) - 1), a);
}
// Past the cache; p is aligned. Other threads may read what was streamed after the fence.
static inline void stream(Word* p, Vec a) { _mm512_stream_si512(reinterpret_cast<__m512i*>(p), a); }

// The pieces of a 32 x 32 -> 64 bit multiplication in every 64-bit lane.
static inline Vec multiply_low_halves(Vec a, Vec b) { return _mm512_mul_epu32(a, b); }
static inline Vec high_half(Vec a) { return _mm512_srli_epi64(a, 32); }
static inline Vec join_low_halves(Vec low, Vec high) {
    return _mm512_mask_mov_epi32(low, 0xaaaa, _mm512_slli_epi64(high, 32));
}

// Counts of the two nibbles of every byte by table look-up, then sums of bytes per lane:
// VPOPCNTQ would ask for a second row of the dispatch table and gains nothing on memory-bound data.
static inline Vec add_byte_counts(Vec bytes, Vec a) {
    const __m512i table = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const __m512i low = _mm512_set1_epi8(0x0f);
    const __m512i counts = _mm512_add_epi8(_mm512_shuffle_epi8(table, _mm512_and_si512(a, low)),
                                           _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(a, 4), low)));
    return _mm512_add_epi8(bytes, counts);
}
static inline Vec add_bytes(Vec total, Vec bytes) {
    return _mm512_add_epi64(total, _mm512_sad_epu8(bytes, _mm512_setzero_si512()));
}
static inline uint64_t sum_lanes(Vec total) { return static_cast<uint64_t>(_mm512_reduce_add_epi64(total)); }

// A mask register as a number. The barrier keeps the number in a general register of 32 bits: without it GCC 12 may
// spill the mask as 16 bits across a call and read it back as the 64 bits of a Word (seen under ThreadSanitizer).
static inline Word to_word(uint32_t mask) {
    __asm__("" : "+r"(mask));
    return mask;
}

// Comparisons of integer lanes that hold the bits of a floating-point number. Watching for NaNs takes the maximum,
// which leaves the one port that compares to the signs.
template <typename F> struct Lanes {
    using Bits = typename F::Bits;
    using Mask = Word;
    static constexpr int kLanes = 64 / sizeof(Bits), kGroup = 1;
    static Vec get(const void* x) { return _mm512_loadu_si512(x); }
    static Vec set(Bits b) {
        typedef Bits Vector __attribute__((vector_size(64)));
        return (Vec)(Vector{} + b);
    }
    static Word greater(Vec a, Vec b) {
        if constexpr (sizeof(Bits) == 2) return to_word(_mm512_cmpgt_epu16_mask(a, b));
        if constexpr (sizeof(Bits) == 4) return to_word(_mm512_cmpgt_epu32_mask(a, b));
        if constexpr (sizeof(Bits) == 8) return to_word(_mm512_cmpgt_epu64_mask(a, b));
    }
    static Word zero(Vec u, Vec magnitude) {
        if constexpr (sizeof(Bits) == 2) return to_word(_mm512_testn_epi16_mask(u, magnitude));
        if constexpr (sizeof(Bits) == 4) return to_word(_mm512_testn_epi32_mask(u, magnitude));
        if constexpr (sizeof(Bits) == 8) return to_word(_mm512_testn_epi64_mask(u, magnitude));
    }
    static Vec watch(Vec largest, Vec size, Vec) {
        if constexpr (sizeof(Bits) == 2) return _mm512_max_epu16(largest, size);
        if constexpr (sizeof(Bits) == 4) return _mm512_max_epu32(largest, size);
        if constexpr (sizeof(Bits) == 8) return _mm512_max_epu64(largest, size);
    }
    static Word negative(Vec u, Vec sign) { return greater(u, sign); }
    static bool saw(Vec largest, Vec infinity) { return greater(largest, infinity) != 0; }
    static Word bits(const Word* mask) { return *mask; }
};

#include "x86.h"

template <typename T> struct Expander {
    __m512i one, zero;

    Expander(T one_, T zero_) : one(lanes_of(one_)), zero(lanes_of(zero_)) {}
    static __m512i lanes_of(T value) {
        T lanes[64 / sizeof(T)];
        for (T& lane : lanes) lane = value;
        return _mm512_loadu_si512(lanes);
    }
    void operator()(Word word, T* out) const {
        constexpr int kLanes = 64 / sizeof(T);
#pragma GCC unroll 8
        for (int i = 0; i < 64; i += kLanes) {
            __m512i chosen;
            if constexpr (sizeof(T) == 1) chosen = _mm512_mask_blend_epi8(word, zero, one);
            if constexpr (sizeof(T) == 2)
                chosen = _mm512_mask_blend_epi16(static_cast<__mmask32>(word >> i), zero, one);
            if constexpr (sizeof(T) == 4)
                chosen = _mm512_mask_blend_epi32(static_cast<__mmask16>(word >> i), zero, one);
            if constexpr (sizeof(T) == 8) chosen = _mm512_mask_blend_epi64(static_cast<__mmask8>(word >> i), zero, one);
            _mm512_storeu_si512(out + i, chosen);
        }
    }
};

using Floats = __m512;
using Halves = __m256i;
static inline Floats widen(Halves halves) { return _mm512_cvtph_ps(halves); }
static inline Halves narrow(Floats floats) { return _mm512_cvtps_ph(floats, _MM_FROUND_TO_NEAREST_INT); }
static inline Halves narrow_with_one_nan(Floats floats) {
    const __mmask16 number = _mm512_cmp_ps_mask(floats, floats, _CMP_ORD_Q);
    return _mm512_mask_cvtps_ph(_mm256_set1_epi16(kHalfNan), number, floats, _MM_FROUND_TO_NEAREST_INT);
}
