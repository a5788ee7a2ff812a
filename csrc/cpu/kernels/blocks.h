// Blocks of 64 coordinates: the unit of every kernel that touches floating-point numbers.
// Included inside the namespace of its instruction set, after its primitives.

constexpr int kBlock = 64;

template <typename T>
struct Native {  // float and double compute in themselves
    using Storage = T;
    using Compute = T;
    static void load(const T* x, T* out) { std::memcpy(out, x, kBlock * sizeof(T)); }
    static void store(const T* x, T* out) { std::memcpy(out, x, kBlock * sizeof(T)); }
    static void round(T*) {}
    static T rounded(T x) { return x; }
};
struct Float32 : Native<float> {
    using Bits = std::uint32_t;
    static constexpr Bits kSign = 0x80000000u, kMagnitude = 0x7fffffffu, kInfinity = 0x7f800000u;
};
struct Float64 : Native<double> {
    using Bits = std::uint64_t;
    static constexpr Bits kSign = 0x8000000000000000u, kMagnitude = 0x7fffffffffffffffu, kInfinity = 0x7ff0000000000000u;
};
struct Float16 {
    using Storage = std::uint16_t;
    using Compute = float;
    using Bits = std::uint16_t;
    static constexpr Bits kSign = 0x8000, kMagnitude = 0x7fff, kInfinity = 0x7c00;
    static void load(const Storage* x, float* out) { load_half(x, out); }
    static void store(const float* x, Storage* out) { store_half(x, out); }
    static float rounded(float x) { return half_to_float(float_to_half(x)); }
    static void round(float* x) {
        Storage bits[kBlock];
        store(x, bits);
        load(bits, x);
    }
};
struct BFloat16 {
    using Storage = std::uint16_t;
    using Compute = float;
    using Bits = std::uint16_t;
    static constexpr Bits kSign = 0x8000, kMagnitude = 0x7fff, kInfinity = 0x7f80;
    static void load(const Storage* x, float* out) {
        for (int i = 0; i < kBlock; ++i) out[i] = bfloat_to_float(x[i]);
    }
    static void store(const float* x, Storage* out) {
        for (int i = 0; i < kBlock; ++i) out[i] = float_to_bfloat(x[i]);
    }
    static float rounded(float x) { return bfloat_to_float(float_to_bfloat(x)); }
    static void round(float* x) {
        for (int i = 0; i < kBlock; ++i) x[i] = rounded(x[i]);
    }
};

// Calls f(word index, block of x, block of v, coordinates in it) for the words [begin, end). A last block that
// is not full comes as a zero-filled copy, so that nothing is read or written past the arrays' ends.
template <typename T, typename U, typename Function>
static inline void for_blocks(T* x, U* v, std::size_t d, std::size_t begin, std::size_t end, Function&& f) {
    const std::size_t full = d / kBlock < end ? d / kBlock : end;
    for (std::size_t w = begin; w < full; ++w) f(w, x + w * kBlock, v ? v + w * kBlock : nullptr, kBlock);
    if (full < end && end > begin) {
        const std::size_t c = full * kBlock, n = d - c;
        alignas(64) typename std::remove_const<T>::type xs[kBlock] = {};
        alignas(64) U vs[kBlock] = {};
        std::memcpy(xs, x + c, n * sizeof(T));
        if (v) std::memcpy(vs, v + c, n * sizeof(U));
        f(full, static_cast<T*>(xs), v ? vs : nullptr, static_cast<int>(n));
        if constexpr (!std::is_const<T>::value) std::memcpy(x + c, xs, n * sizeof(T));
        if (v) std::memcpy(v + c, vs, n * sizeof(U));
    }
}

static inline Word valid_bits(int n) { return n == kBlock ? ~Word{0} : (Word{1} << n) - 1; }
