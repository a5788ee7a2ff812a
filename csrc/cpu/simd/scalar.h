// Primitives in portable C++: one word at a time.

struct Vec {  // not a bare Word, whose counters GCC would take for something to vectorise
    Word v;

    friend Vec operator&(Vec a, Vec b) { return {a.v & b.v}; }
    friend Vec operator|(Vec a, Vec b) { return {a.v | b.v}; }
    friend Vec operator^(Vec a, Vec b) { return {a.v ^ b.v}; }
    friend Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
    friend Vec operator~(Vec a) { return {~a.v}; }
};
#include "vectors.h"

static inline Vec broadcast(Word w) { return {w}; }
// carry:sum = a + b + c
static inline Vec majority3(Vec a, Vec b, Vec c) { return (a & b) | (c & (a ^ b)); }

static inline void stream(Word* p, Vec a) { store(p, a); }
static inline void stream_fence() {}
static inline void prefetch(const void*) {}

// The pieces of a 32 x 32 -> 64 bit multiplication in every 64-bit lane.
static inline Vec multiply_low_halves(Vec a, Vec b) { return {(a.v & 0xffffffffu) * (b.v & 0xffffffffu)}; }
static inline Vec high_half(Vec a) { return {a.v >> 32}; }
static inline Vec join_low_halves(Vec low, Vec high) { return {(low.v & 0xffffffffu) | (high.v << 32)}; }

// Counts of set bits: add_byte_counts() into the bytes, add_bytes() from there into 64-bit lanes, sum_lanes() ends it.
// Bytes on the way hold up to 255: at most 31 vectors' worth.
static inline Vec add_byte_counts(Vec bytes, Vec a) {
    Word x = a.v - ((a.v >> 1) & 0x5555555555555555u);
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    return {bytes.v + ((x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu)};
}
static inline Vec add_bytes(Vec total, Vec bytes) {
    const Word pairs = (bytes.v & 0x00ff00ff00ff00ffu) + ((bytes.v >> 8) & 0x00ff00ff00ff00ffu);
    return {total.v + ((pairs * 0x0001000100010001u) >> 48)};
}
static inline uint64_t sum_lanes(Vec total) { return total.v; }

// 64 bytes of 0 or 1 to 64 bits: one multiplication moves the low bits of eight bytes into the top byte.
static inline Word bytes_to_bits(const uint8_t* bytes) {
    Word word = 0;
    for (int i = 0; i < 8; ++i) {
        Word eight;  // the package asks for little-endian machines
        std::memcpy(&eight, bytes + 8 * i, sizeof eight);
        word |= ((eight * 0x0102040810204080u) >> 56) << (8 * i);
    }
    return word;
}

// Signs of 64 coordinates: bit i is set where x[i] < 0 / x[i] == 0 / x[i] is NaN, by integer comparison,
// so that no floating-point mode (flush to zero) changes a vote. "Greater than -0.0, unsigned" is "greater than 0,
// signed" once the sign bit is flipped, and that compilers vectorise even for the oldest CPUs.
template <typename F> static inline SignMasks sign_masks(const typename F::Storage* x) {
    using Signed = typename std::make_signed<typename F::Bits>::type;
    typename F::Bits u[64];
    std::memcpy(u, x, sizeof u);
    uint8_t negative[64], zero[64], nan[64];
    for (int i = 0; i < 64; ++i) negative[i] = static_cast<Signed>(u[i] ^ F::kSign) > 0;
    for (int i = 0; i < 64; ++i) zero[i] = (u[i] & F::kMagnitude) == 0;
    for (int i = 0; i < 64; ++i) nan[i] = static_cast<Signed>(u[i] & F::kMagnitude) > static_cast<Signed>(F::kInfinity);
    return {bytes_to_bits(negative), bytes_to_bits(zero), bytes_to_bits(nan)};
}

// Read the negative mask alone, and note the largest magnitude, which tells whether any coordinate was NaN.
template <typename F, size_t = sizeof(typename F::Bits)> struct SignReader {
    using Signed = typename std::make_signed<typename F::Bits>::type;
    Signed largest = 0;

    Word negative(const typename F::Storage* x) {
        typename F::Bits u[64];
        std::memcpy(u, x, sizeof u);
        uint8_t mask[64];
        for (int i = 0; i < 64; ++i) mask[i] = static_cast<Signed>(u[i] ^ F::kSign) > 0;
        for (int i = 0; i < 64; ++i) {
            const Signed magnitude = static_cast<Signed>(u[i] & F::kMagnitude);
            largest = magnitude > largest ? magnitude : largest;
        }
        return bytes_to_bits(mask);
    }
    bool saw_nan() const { return largest > static_cast<Signed>(F::kInfinity); }
};

// Old CPUs cannot compare 64-bit lanes: a sum carries into the sign bit instead.
template <typename F> struct SignReader<F, 8> {
    Word nans = 0;

    Word negative(const typename F::Storage* x) {
        Word word = 0;
        for (int byte = 0; byte < 8; ++byte) {
            Word bits = 0;
#pragma GCC unroll 8
            for (int i = 0; i < 8; ++i) {
                Word u;
                std::memcpy(&u, x + 8 * byte + i, sizeof u);
                const Word size = u & F::kMagnitude;
                nans |= size + (F::kMagnitude - F::kInfinity);    // beyond infinity
                bits |= ((size + F::kMagnitude) & u) >> 63 << i;  // not zero, and negative
            }
            word |= bits << (8 * byte);
        }
        return word;
    }
    bool saw_nan() const { return nans >> 63; }
};

template <typename T> using Expander = TableExpander<T>;

// Floats and as many halves: narrow() rounds to nearest even; where results are stored, a NaN gets its one form.
using Floats = float;
using Halves = uint16_t;
static inline Floats widen(Halves half) { return half_to_float(half); }
static inline Halves narrow(Floats x) { return float_to_half(x); }
static inline Halves narrow_with_one_nan(Floats x) { return float_to_half(x); }
