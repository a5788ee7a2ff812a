// Primitives for AArch64 NEON.

struct Vec {
    uint64x2_t v;
};
constexpr std::size_t kVecWords = 2;

static inline Vec load(const Word* p) { return {vld1q_u64(p)}; }
static inline void store(Word* p, Vec a) { vst1q_u64(p, a.v); }
static inline Vec broadcast(Word w) { return {vdupq_n_u64(w)}; }
static inline Vec bit_and(Vec a, Vec b) { return {vandq_u64(a.v, b.v)}; }
static inline Vec bit_or(Vec a, Vec b) { return {vorrq_u64(a.v, b.v)}; }
static inline Vec bit_xor(Vec a, Vec b) { return {veorq_u64(a.v, b.v)}; }
static inline Vec bit_not(Vec a) { return {vreinterpretq_u64_u8(vmvnq_u8(vreinterpretq_u8_u64(a.v)))}; }
static inline Vec and_not(Vec a, Vec b) { return {vbicq_u64(a.v, b.v)}; }
static inline Vec or_not(Vec a, Vec b) { return {vornq_u64(a.v, b.v)}; }
// carry:sum = a + b + c; where a and b differ the carry is c, elsewhere it is b
static inline Vec xor3(Vec a, Vec b, Vec c) { return bit_xor(bit_xor(a, b), c); }
static inline Vec majority3(Vec a, Vec b, Vec c) { return {vbslq_u64(veorq_u64(a.v, b.v), c.v, b.v)}; }

static inline Vec load_part(const Word* p, std::size_t n) {
    Word part[kVecWords] = {};
    std::memcpy(part, p, n * sizeof(Word));
    return load(part);
}
static inline void store_part(Word* p, Vec a, std::size_t n) {
    Word part[kVecWords];
    store(part, a);
    std::memcpy(p, part, n * sizeof(Word));
}
static inline void stream(Word* p, Vec a) { store(p, a); }
static inline void stream_fence() {}
static inline void prefetch(const void* p) { __builtin_prefetch(p); }

// The pieces of a 32 x 32 -> 64 bit multiplication in every 64-bit lane.
static inline Vec multiply_low_halves(Vec a, Vec b) { return {vmull_u32(vmovn_u64(a.v), vmovn_u64(b.v))}; }
static inline Vec high_half(Vec a) { return {vshrq_n_u64(a.v, 32)}; }
static inline Vec join_low_halves(Vec low, Vec high) { return {vsliq_n_u64(low.v, high.v, 32)}; }

static inline Vec add_byte_counts(Vec bytes, Vec a) {
    return {vreinterpretq_u64_u8(vaddq_u8(vreinterpretq_u8_u64(bytes.v), vcntq_u8(vreinterpretq_u8_u64(a.v))))};
}
static inline Vec add_bytes(Vec total, Vec bytes) {
    return {vpadalq_u32(total.v, vpaddlq_u16(vpaddlq_u8(vreinterpretq_u8_u64(bytes.v))))};
}
static inline std::uint64_t sum_lanes(Vec total) { return vaddvq_u64(total.v); }

// 64 bytes of all-ones or zero to 64 bits: weigh every byte by its bit, then three rounds of pairwise sums.
static inline Word bytes_to_bits(uint8x16_t a, uint8x16_t b, uint8x16_t c, uint8x16_t d) {
    const uint8x16_t weight = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t ab = vpaddq_u8(vandq_u8(a, weight), vandq_u8(b, weight));
    const uint8x16_t cd = vpaddq_u8(vandq_u8(c, weight), vandq_u8(d, weight));
    const uint8x16_t abcd = vpaddq_u8(ab, cd);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(abcd, abcd)), 0);
}

// Sixteen coordinates to sixteen bytes: compare lanes, then narrow.
template <typename F, std::size_t = sizeof(typename F::Bits)>
struct Lanes;

template <typename F>
struct Lanes<F, 2> {
    using V = uint16x8_t;
    static constexpr int kParts = 2;
    static V set(std::uint16_t b) { return vdupq_n_u16(b); }
    static V get(const void* x, int i) { return vreinterpretq_u16_u8(vld1q_u8(static_cast<const std::uint8_t*>(x) + 16 * i)); }
    static V both(V a, V b) { return vandq_u16(a, b); }
    static V greater(V a, V b) { return vcgtq_u16(a, b); }
    static V equal(V a, V b) { return vceqq_u16(a, b); }
    static uint8x16_t bytes(const V* m) { return vcombine_u8(vmovn_u16(m[0]), vmovn_u16(m[1])); }
};
template <typename F>
struct Lanes<F, 4> {
    using V = uint32x4_t;
    static constexpr int kParts = 4;
    static V set(std::uint32_t b) { return vdupq_n_u32(b); }
    static V get(const void* x, int i) { return vreinterpretq_u32_u8(vld1q_u8(static_cast<const std::uint8_t*>(x) + 16 * i)); }
    static V both(V a, V b) { return vandq_u32(a, b); }
    static V greater(V a, V b) { return vcgtq_u32(a, b); }
    static V equal(V a, V b) { return vceqq_u32(a, b); }
    static uint8x16_t bytes(const V* m) {
        const uint16x8_t low = vcombine_u16(vmovn_u32(m[0]), vmovn_u32(m[1]));
        const uint16x8_t high = vcombine_u16(vmovn_u32(m[2]), vmovn_u32(m[3]));
        return vcombine_u8(vmovn_u16(low), vmovn_u16(high));
    }
};
template <typename F>
struct Lanes<F, 8> {
    using V = uint64x2_t;
    static constexpr int kParts = 8;
    static V set(std::uint64_t b) { return vdupq_n_u64(b); }
    static V get(const void* x, int i) { return vreinterpretq_u64_u8(vld1q_u8(static_cast<const std::uint8_t*>(x) + 16 * i)); }
    static V both(V a, V b) { return vandq_u64(a, b); }
    static V greater(V a, V b) { return vcgtq_u64(a, b); }
    static V equal(V a, V b) { return vceqq_u64(a, b); }
    static uint8x16_t bytes(const V* m) {
        uint32x4_t words[4];
        for (int i = 0; i < 4; ++i) words[i] = vcombine_u32(vmovn_u64(m[2 * i]), vmovn_u64(m[2 * i + 1]));
        return Lanes<F, 4>::bytes(words);
    }
};

// Signs of 64 coordinates by integer comparison: see scalar.h.
template <typename F>
static inline SignMasks sign_masks(const typename F::Storage* x) {
    using L = Lanes<F>;
    const auto sign = L::set(F::kSign), magnitude = L::set(F::kMagnitude), infinity = L::set(F::kInfinity), zero = L::set(0);
    uint8x16_t negative[4], zeros[4], nans[4];
    for (int q = 0; q < 4; ++q) {
        typename L::V n[L::kParts], z[L::kParts], a[L::kParts];
        for (int j = 0; j < L::kParts; ++j) {
            const auto u = L::get(x, q * L::kParts + j), size = L::both(u, magnitude);
            n[j] = L::greater(u, sign);
            z[j] = L::equal(size, zero);
            a[j] = L::greater(size, infinity);
        }
        negative[q] = L::bytes(n);
        zeros[q] = L::bytes(z);
        nans[q] = L::bytes(a);
    }
    return {bytes_to_bits(negative[0], negative[1], negative[2], negative[3]),
            bytes_to_bits(zeros[0], zeros[1], zeros[2], zeros[3]), bytes_to_bits(nans[0], nans[1], nans[2], nans[3])};
}

template <typename F>
struct SignReader {  // see scalar.h
    Word nans = 0;

    Word negative(const typename F::Storage* x) {
        const SignMasks m = sign_masks<F>(x);
        nans |= m.nan;
        return m.negative;
    }
    bool saw_nan() const { return nans != 0; }
};

template <typename T>
struct Expander : TableExpander<T> {
    using TableExpander<T>::TableExpander;
};
template <>
struct Expander<float> {
    float32x4_t one, zero;

    Expander(float one_, float zero_) : one(vdupq_n_f32(one_)), zero(vdupq_n_f32(zero_)) {}
    void operator()(Word word, float* out) const {
        const uint32x4_t bit = {1, 2, 4, 8};
        for (int i = 0; i < 64; i += 4) {
            const uint32x4_t nibble = vdupq_n_u32(static_cast<std::uint32_t>((word >> i) & 0xf));
            vst1q_f32(out + i, vbslq_f32(vtstq_u32(nibble, bit), one, zero));
        }
    }
};

// Floats and as many halves. narrow() rounds to nearest even and gives a NaN its one form, as float_to_half does.
constexpr int kHalves = 4;

static inline float32x4_t load_floats(const float* x) { return vld1q_f32(x); }
static inline void store_floats(float* x, float32x4_t a) { vst1q_f32(x, a); }
static inline uint16x4_t load_halves(const std::uint16_t* x) { return vld1_u16(x); }
static inline void store_halves(std::uint16_t* x, uint16x4_t a) { vst1_u16(x, a); }
static inline float32x4_t widen(uint16x4_t halves) { return vcvt_f32_f16(vreinterpret_f16_u16(halves)); }
static inline uint16x4_t narrow(float32x4_t floats) {
    const uint16x4_t halves = vreinterpret_u16_f16(vcvt_f16_f32(floats)), size = vand_u16(halves, vdup_n_u16(0x7fff));
    return vbsl_u16(vcgt_u16(size, vdup_n_u16(kHalfInfinity)), vdup_n_u16(kHalfNan), halves);
}
