// Primitives for AVX2 + F16C.

struct Vec {
    __m256i v;
};
constexpr std::size_t kVecWords = 4;

static inline Vec load(const Word* p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))}; }
static inline void store(Word* p, Vec a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v); }
static inline Vec broadcast(Word w) { return {_mm256_set1_epi64x(static_cast<long long>(w))}; }
static inline Vec bit_and(Vec a, Vec b) { return {_mm256_and_si256(a.v, b.v)}; }
static inline Vec bit_or(Vec a, Vec b) { return {_mm256_or_si256(a.v, b.v)}; }
static inline Vec bit_xor(Vec a, Vec b) { return {_mm256_xor_si256(a.v, b.v)}; }
static inline Vec bit_not(Vec a) { return {_mm256_xor_si256(a.v, _mm256_set1_epi64x(-1))}; }
static inline Vec and_not(Vec a, Vec b) { return {_mm256_andnot_si256(b.v, a.v)}; }
static inline Vec or_not(Vec a, Vec b) { return bit_or(a, bit_not(b)); }
// carry:sum = a + b + c
static inline Vec xor3(Vec a, Vec b, Vec c) { return bit_xor(bit_xor(a, b), c); }
static inline Vec majority3(Vec a, Vec b, Vec c) { return bit_or(bit_and(a, b), bit_and(c, bit_xor(a, b))); }

static inline Vec load_part(const Word* p, std::size_t n) {
    alignas(32) Word part[kVecWords] = {};
    std::memcpy(part, p, n * sizeof(Word));
    return load(part);
}
static inline void store_part(Word* p, Vec a, std::size_t n) {
    alignas(32) Word part[kVecWords];
    store(part, a);
    std::memcpy(p, part, n * sizeof(Word));
}
// Past the cache; p is aligned. Other threads may read what was streamed after the fence.
static inline void stream(Word* p, Vec a) { _mm256_stream_si256(reinterpret_cast<__m256i*>(p), a.v); }

// The pieces of a 32 x 32 -> 64 bit multiplication in every 64-bit lane.
static inline Vec multiply_low_halves(Vec a, Vec b) { return {_mm256_mul_epu32(a.v, b.v)}; }
static inline Vec high_half(Vec a) { return {_mm256_srli_epi64(a.v, 32)}; }
static inline Vec join_low_halves(Vec low, Vec high) {
    return {_mm256_blend_epi32(low.v, _mm256_slli_epi64(high.v, 32), 0xaa)};
}

// Counts of the two nibbles of every byte by table look-up, then sums of bytes per lane.
static inline Vec add_byte_counts(Vec bytes, Vec a) {
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                           0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(0x0f);
    const __m256i counts = _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(a.v, low)),
                                           _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(a.v, 4), low)));
    return {_mm256_add_epi8(bytes.v, counts)};
}
static inline Vec add_bytes(Vec total, Vec bytes) {
    return {_mm256_add_epi64(total.v, _mm256_sad_epu8(bytes.v, _mm256_setzero_si256()))};
}
static inline std::uint64_t sum_lanes(Vec total) {
    Word part[kVecWords];
    store(part, total);
    return part[0] + part[1] + part[2] + part[3];
}

// 32 lanes of all-ones or zero, 4 x 8 of 32 bits each, to 32 bits in lane order.
static inline std::uint32_t lanes32_to_bits(__m256i a, __m256i b, __m256i c, __m256i d) {
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);  // undo the per-half interleaving of pack
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_permutevar8x32_epi32(bytes, order)));
}
static inline std::uint32_t lanes16_to_bits(__m256i a, __m256i b) {
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_permute4x64_epi64(_mm256_packs_epi16(a, b), 0xd8)));
}

// Comparisons of integer lanes that hold the bits of a floating-point number, one struct per lane width. Flipping the
// sign bit turns "greater than -0.0, unsigned" into "greater than 0, signed", which AVX2 has.
struct LanesOfAny {
    using Mask = __m256i;
    static __m256i get(const void* x) { return _mm256_loadu_si256(static_cast<const __m256i*>(x)); }
    static __m256i both(__m256i a, __m256i b) { return _mm256_and_si256(a, b); }
};
template <typename F, std::size_t = sizeof(typename F::Bits)>
struct Lanes;

template <typename F>
struct Lanes<F, 4> : LanesOfAny {
    static constexpr int kLanes = 8, kGroup = 4;
    static __m256i set(std::uint32_t b) { return _mm256_set1_epi32(static_cast<int>(b)); }
    static __m256i greater(__m256i a, __m256i b) { return _mm256_cmpgt_epi32(a, b); }
    static __m256i zero(__m256i a) { return _mm256_cmpeq_epi32(a, set(0)); }
    static __m256i negative(__m256i u, __m256i sign) { return greater(_mm256_xor_si256(u, sign), set(0)); }
    static __m256i watch(__m256i largest, __m256i size, __m256i) { return _mm256_max_epi32(largest, size); }
    static bool saw(__m256i largest, __m256i infinity) { return _mm256_movemask_epi8(greater(largest, infinity)) != 0; }
    static Word bits(const __m256i* m) { return lanes32_to_bits(m[0], m[1], m[2], m[3]); }
};
template <typename F>
struct Lanes<F, 2> : LanesOfAny {
    static constexpr int kLanes = 16, kGroup = 2;
    static __m256i set(std::uint16_t b) { return _mm256_set1_epi16(static_cast<short>(b)); }
    static __m256i greater(__m256i a, __m256i b) { return _mm256_cmpgt_epi16(a, b); }
    static __m256i zero(__m256i a) { return _mm256_cmpeq_epi16(a, set(0)); }
    static __m256i negative(__m256i u, __m256i sign) { return greater(_mm256_xor_si256(u, sign), set(0)); }
    static __m256i watch(__m256i largest, __m256i size, __m256i) { return _mm256_max_epi16(largest, size); }
    static bool saw(__m256i largest, __m256i infinity) { return _mm256_movemask_epi8(greater(largest, infinity)) != 0; }
    static Word bits(const __m256i* m) { return lanes16_to_bits(m[0], m[1]); }
};
template <typename F>
struct Lanes<F, 8> : LanesOfAny {
    static constexpr int kLanes = 4, kGroup = 8;
    static __m256i set(std::uint64_t b) { return _mm256_set1_epi64x(static_cast<long long>(b)); }
    static __m256i greater(__m256i a, __m256i b) { return _mm256_cmpgt_epi64(a, b); }
    static __m256i zero(__m256i a) { return _mm256_cmpeq_epi64(a, set(0)); }
    static __m256i negative(__m256i u, __m256i sign) { return greater(_mm256_xor_si256(u, sign), set(0)); }
    static __m256i watch(__m256i nans, __m256i size, __m256i infinity) {  // AVX2 has no 64-bit maximum
        return _mm256_or_si256(nans, greater(size, infinity));
    }
    static bool saw(__m256i nans, __m256i) { return !_mm256_testz_si256(nans, nans); }
    static Word bits(const __m256i* m) {
        Word word = 0;
#pragma GCC unroll 8
        for (int i = 0; i < kGroup; ++i)
            word |= static_cast<Word>(_mm256_movemask_pd(_mm256_castsi256_pd(m[i]))) << (4 * i);
        return word;
    }
};

#include "x86.h"

template <typename T>
struct Expander : TableExpander<T> {
    using TableExpander<T>::TableExpander;
};
template <>
struct Expander<float> {
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

// Floats and as many halves. narrow() rounds to nearest even and gives a NaN its one form, as float_to_half does.
constexpr int kHalves = 8;

static inline __m256 load_floats(const float* x) { return _mm256_loadu_ps(x); }
static inline void store_floats(float* x, __m256 a) { _mm256_storeu_ps(x, a); }
static inline __m128i load_halves(const std::uint16_t* x) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(x)); }
static inline void store_halves(std::uint16_t* x, __m128i a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(x), a); }
static inline __m256 widen(__m128i halves) { return _mm256_cvtph_ps(halves); }
static inline __m128i narrow(__m256 floats) {
    const __m128i halves = _mm256_cvtps_ph(floats, _MM_FROUND_TO_NEAREST_INT);
    const __m128i size = _mm_and_si128(halves, _mm_set1_epi16(0x7fff));
    return _mm_blendv_epi8(halves, _mm_set1_epi16(kHalfNan), _mm_cmpgt_epi16(size, _mm_set1_epi16(kHalfInfinity)));
}
