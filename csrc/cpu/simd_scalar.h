// Primitives in portable C++: one word at a time. Included inside the namespace of its instruction set.

struct Vec {
    Word v;
};
constexpr std::size_t kVecWords = 1;

static inline Vec load(const Word* p) { return {*p}; }
static inline void store(Word* p, Vec a) { *p = a.v; }
static inline Vec broadcast(Word w) { return {w}; }
static inline Vec bit_and(Vec a, Vec b) { return {a.v & b.v}; }
static inline Vec bit_or(Vec a, Vec b) { return {a.v | b.v}; }
static inline Vec bit_xor(Vec a, Vec b) { return {a.v ^ b.v}; }
static inline Vec bit_not(Vec a) { return {~a.v}; }
static inline Vec and_not(Vec a, Vec b) { return {a.v & ~b.v}; }
static inline Vec or_not(Vec a, Vec b) { return {a.v | ~b.v}; }
// carry:sum = a + b + c
static inline Vec xor3(Vec a, Vec b, Vec c) { return {a.v ^ b.v ^ c.v}; }
static inline Vec majority3(Vec a, Vec b, Vec c) { return {(a.v & b.v) | (c.v & (a.v ^ b.v))}; }

static inline Vec load_part(const Word* p, std::size_t) { return load(p); }
static inline void store_part(Word* p, Vec a, std::size_t) { store(p, a); }
static inline void prefetch(const void*) {}

// Per-lane sums of set bits: add_count() adds those of a to the lanes of total, sum_lanes() ends it.
static inline Vec add_count(Vec total, Vec a) {
    Word x = a.v - ((a.v >> 1) & 0x5555555555555555u);
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return {total.v + ((x * 0x0101010101010101u) >> 56)};
}
static inline std::uint64_t sum_lanes(Vec total) { return total.v; }

// Signs of 64 coordinates: bit i is set where x[i] < 0 / x[i] == 0 / x[i] is NaN, by integer comparison,
// so that no floating-point mode (flush to zero) changes a vote.
template <typename F>
static inline SignMasks sign_masks(const typename F::Storage* x) {
    SignMasks m{0, 0, 0};
    for (int i = 0; i < 64; ++i) {
        typename F::Bits u;
        std::memcpy(&u, x + i, sizeof u);
        const typename F::Bits magnitude = u & F::kMagnitude;
        m.negative |= static_cast<Word>(u > F::kSign) << i;
        m.zero |= static_cast<Word>(magnitude == 0) << i;
        m.nan |= static_cast<Word>(magnitude > F::kInfinity) << i;
    }
    return m;
}

// The negative mask alone; gathers into `nan` whether any coordinate is NaN.
template <typename F>
static inline Word negative_mask(const typename F::Storage* x, Word& nan) {
    Word negative = 0;
    typename F::Bits largest = 0;
    for (int i = 0; i < 64; ++i) {
        typename F::Bits u;
        std::memcpy(&u, x + i, sizeof u);
        const typename F::Bits magnitude = u & F::kMagnitude;
        negative |= static_cast<Word>(u > F::kSign) << i;
        largest = magnitude > largest ? magnitude : largest;
    }
    nan |= largest > F::kInfinity;
    return negative;
}

// out[i] = bit i of the word ? one : zero, for 64 coordinates.
template <typename T>
static inline void expand(Word word, T one, T zero, T* out) {
    for (int i = 0; i < 64; ++i) out[i] = (word >> i) & 1 ? one : zero;
}

static inline void load_half(const std::uint16_t* x, float* out) {
    for (int i = 0; i < 64; ++i) out[i] = half_to_float(x[i]);
}
static inline void store_half(const float* x, std::uint16_t* out) {
    for (int i = 0; i < 64; ++i) out[i] = float_to_half(x[i]);
}
