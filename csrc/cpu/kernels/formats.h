// Floating-point formats as bits, and blocks of 64 coordinates moved to and from the type that computes.
// Included inside the namespace of its instruction set.

struct SignMasks {
    Word negative, zero, nan;
};

// Rounds to nearest even, as every format here does; subnormals and infinities by integer arithmetic.
static inline float half_to_float(std::uint16_t h) {
    const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000) << 16;
    const std::uint32_t exponent = (h >> 10) & 0x1f, fraction = h & 0x3ff;
    std::uint32_t u;
    if (exponent == 0x1f) {
        u = sign | 0x7f800000 | (fraction << 13);
    } else if (exponent != 0) {
        u = sign | ((exponent + 112) << 23) | (fraction << 13);
    } else {
        const float f = static_cast<float>(fraction) * 5.9604644775390625e-8f;  // 2^-24, exact
        std::memcpy(&u, &f, sizeof u);
        u |= sign;
    }
    float f;
    std::memcpy(&f, &u, sizeof f);
    return f;
}

static inline std::uint16_t float_to_half(float f) {
    std::uint32_t u;
    std::memcpy(&u, &f, sizeof u);
    const std::uint16_t sign = static_cast<std::uint16_t>((u >> 16) & 0x8000);
    u &= 0x7fffffff;
    if (u > 0x7f800000) return static_cast<std::uint16_t>(sign | 0x7e00);
    if (u >= 0x477ff000) return static_cast<std::uint16_t>(sign | 0x7c00);  // rounds past 65504
    if (u < 0x33000000) return sign;                                        // below half the smallest subnormal
    const int exponent = static_cast<int>(u >> 23);
    const std::uint32_t fraction = (u & 0x7fffff) | 0x800000;
    const int shift = exponent < 113 ? 126 - exponent : 13;  // bits of the fraction that a half drops
    const std::uint32_t kept = fraction >> shift, rest = fraction & ((1u << shift) - 1), tie = 1u << (shift - 1);
    const std::uint32_t up = rest > tie || (rest == tie && (kept & 1));
    const std::uint32_t base = exponent < 113 ? 0 : static_cast<std::uint32_t>(exponent - 113) << 10;
    return static_cast<std::uint16_t>(sign | (base + kept + up));  // a carry out of the fraction is the next exponent
}

static inline float bfloat_to_float(std::uint16_t b) {
    const std::uint32_t u = static_cast<std::uint32_t>(b) << 16;
    float f;
    std::memcpy(&f, &u, sizeof f);
    return f;
}

static inline std::uint16_t float_to_bfloat(float f) {
    std::uint32_t u;
    std::memcpy(&u, &f, sizeof u);
    const std::uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    return static_cast<std::uint16_t>((u & 0x7fffffff) > 0x7f800000 ? 0x7fc0 | ((u >> 16) & 0x8000) : rounded);
}

// out[i] = bit i of the word ? one : zero, for 64 coordinates: four at a time, from a table.
template <typename T>
struct TableExpander {
    T table[16][4];

    TableExpander(T one, T zero) {
        for (int nibble = 0; nibble < 16; ++nibble)
            for (int i = 0; i < 4; ++i) table[nibble][i] = (nibble >> i) & 1 ? one : zero;
    }
    void operator()(Word word, T* out) const {
        for (int i = 0; i < 64; i += 4) std::memcpy(out + i, table[(word >> i) & 0xf], sizeof table[0]);
    }
};
