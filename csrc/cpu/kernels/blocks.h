// Blocks of 64 coordinates: the unit of every kernel that touches floating-point numbers.

constexpr int kBlock = 64;

template <typename T, typename U, U kSignBit, U kInfinityBits>
struct Native {  // float and double compute in themselves
    using Storage = T;
    using Compute = T;
    using Bits = U;
    static constexpr Bits kSign = kSignBit, kMagnitude = kSignBit - 1, kInfinity = kInfinityBits;
    static constexpr T kOne = 1, kMinusOne = -1;
    static T rounded(T x) { return x; }
};
using Float32 = Native<float, uint32_t, 0x80000000u, 0x7f800000u>;
using Float64 = Native<double, uint64_t, 0x8000000000000000u, 0x7ff0000000000000u>;

constexpr int kHalves = sizeof(Floats) / sizeof(float);

static inline Floats load_floats(const float* x) {
    Floats a;
    std::memcpy(&a, x, sizeof a);
    return a;
}
static inline Halves load_halves(const uint16_t* x) {
    Halves a;
    std::memcpy(&a, x, sizeof a);
    return a;
}

struct Float16 {
    using Storage = uint16_t;
    using Compute = float;
    using Bits = uint16_t;
    static constexpr Bits kSign = 0x8000, kMagnitude = 0x7fff, kInfinity = kHalfInfinity;
    static constexpr Storage kOne = 0x3c00, kMinusOne = 0xbc00;
    static void load(const Storage* x, float* out) {
        for (int i = 0; i < kBlock; i += kHalves) {
            const Floats a = widen(load_halves(x + i));
            std::memcpy(out + i, &a, sizeof a);
        }
    }
    static void store(const float* x, Storage* out) {
        for (int i = 0; i < kBlock; i += kHalves) {
            const Halves a = narrow_with_one_nan(load_floats(x + i));
            std::memcpy(out + i, &a, sizeof a);
        }
    }
    static void round(float* x) {
        for (int i = 0; i < kBlock; i += kHalves) {
            const Floats a = widen(narrow(load_floats(x + i)));
            std::memcpy(x + i, &a, sizeof a);
        }
    }
    static float rounded(float x) { return half_to_float(float_to_half(x)); }
};
struct BFloat16 {
    using Storage = uint16_t;
    using Compute = float;
    using Bits = uint16_t;
    static constexpr Bits kSign = 0x8000, kMagnitude = 0x7fff, kInfinity = kBFloatInfinity;
    static constexpr Storage kOne = 0x3f80, kMinusOne = 0xbf80;
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

template <typename F> constexpr bool kIsNative = std::is_same_v<typename F::Storage, typename F::Compute>;

// Call work with the format of a dtype.
template <typename Work> static inline auto with_format(Dtype dtype, Work work) {
    switch (dtype) {
        case Dtype::kFloat16: return work(Float16{});
        case Dtype::kBFloat16: return work(BFloat16{});
        case Dtype::kFloat64: return work(Float64{});
        default: return work(Float32{});
    }
}

// Call f(word index, block of x, block of v, bits of its coordinates) for the words [begin, end). A last block that is
// not full comes as a zero-filled copy, so that nothing is read or written past the arrays' ends.
template <typename T, typename U, typename Function>
static inline void for_blocks(T* x, U* v, size_t d, size_t begin, size_t end, Function&& f) {
    const size_t full = d / kBlock < end ? d / kBlock : end;
    for (size_t w = begin; w < full; ++w) f(w, x + w * kBlock, v ? v + w * kBlock : nullptr, ~Word{0});
    if (full < end && end > begin) {
        const size_t c = full * kBlock, n = d - c;
        alignas(64) typename std::remove_const<T>::type xs[kBlock] = {};
        alignas(64) U vs[kBlock] = {};
        std::memcpy(xs, x + c, n * sizeof(T));
        if (v) std::memcpy(vs, v + c, n * sizeof(U));
        f(full, static_cast<T*>(xs), v ? vs : nullptr, valid_bits(d, full));
        if constexpr (!std::is_const<T>::value) std::memcpy(x + c, xs, n * sizeof(T));
        if (v) std::memcpy(v + c, vs, n * sizeof(U));
    }
}
