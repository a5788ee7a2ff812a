// What AVX2 and AVX-512 share: signs of 64 coordinates over the Lanes of either (see scalar.h for what they are),
// stores past the cache, and prefetching.

template <typename F> static inline SignMasks sign_masks(const typename F::Storage* x) {
    using L = Lanes<F>;
    const auto sign = L::set(F::kSign), magnitude = L::set(F::kMagnitude), infinity = L::set(F::kInfinity);
    SignMasks out{0, 0, 0};
#pragma GCC unroll 8
    for (int bit = 0; bit < 64; bit += L::kGroup * L::kLanes) {
        typename L::Mask negative[L::kGroup], zeros[L::kGroup], nans[L::kGroup];
#pragma GCC unroll 8
        for (int j = 0; j < L::kGroup; ++j) {
            const auto u = L::get(x + bit + j * L::kLanes), size = u & magnitude;
            negative[j] = L::negative(u, sign);
            zeros[j] = L::zero(u, magnitude);
            nans[j] = L::greater(size, infinity);
        }
        out.negative |= L::bits(negative) << bit;
        out.zero |= L::bits(zeros) << bit;
        out.nan |= L::bits(nans) << bit;
    }
    return out;
}

template <typename F> struct SignReader {
    using L = Lanes<F>;
    decltype(L::set(0)) watched = L::set(0);

    Word negative(const typename F::Storage* x) {
        const auto sign = L::set(F::kSign), magnitude = L::set(F::kMagnitude), infinity = L::set(F::kInfinity);
        Word word = 0;
#pragma GCC unroll 8
        for (int bit = 0; bit < 64; bit += L::kGroup * L::kLanes) {
            typename L::Mask mask[L::kGroup];
#pragma GCC unroll 8
            for (int j = 0; j < L::kGroup; ++j) {
                const auto u = L::get(x + bit + j * L::kLanes);
                mask[j] = L::negative(u, sign);
                watched = L::watch(watched, u & magnitude, infinity);
            }
            word |= L::bits(mask) << bit;
        }
        return word;
    }
    bool saw_nan() const { return L::saw(watched, L::set(F::kInfinity)); }
};

static inline void stream_fence() { _mm_sfence(); }
static inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
