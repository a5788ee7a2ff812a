// Signs of floating-point numbers, numbers from signs, and the two ends of an optimizer step.

// v <- round(round(beta * v) + round(weight * x)): three roundings to the storage type, never contracted.
template <typename F> static inline void momentum_block(const typename F::Storage* x, typename F::Storage* v,
                                                        typename F::Compute beta, typename F::Compute weight) {
    using C = typename F::Compute;
    if constexpr (kIsNative<F>) {
        for (int i = 0; i < kBlock; ++i) v[i] = beta * v[i] + weight * x[i];
    } else {
        alignas(64) C a[kBlock], b[kBlock];
        F::load(v, a);
        F::load(x, b);
        for (int i = 0; i < kBlock; ++i) a[i] *= beta;
        for (int i = 0; i < kBlock; ++i) b[i] *= weight;
        F::round(a);
        F::round(b);
        for (int i = 0; i < kBlock; ++i) a[i] += b[i];
        F::store(a, v);
    }
}

// Step the momentum of one block and return what to take the signs of: v, or the scratch where the job is split.
template <typename F>
static inline const typename F::Storage* step_block(const PackJob& job, const typename F::Storage* x,
                                                    typename F::Storage* v, typename F::Storage* scratch) {
    using C = typename F::Compute;
    const auto beta = static_cast<C>(job.beta), weight = static_cast<C>(job.weight);
    if (!job.split) {
        momentum_block<F>(x, v, beta, weight);
        return v;
    }
    std::memcpy(scratch, v, kBlock * sizeof *v);
    momentum_block<F>(x, scratch, beta, weight);
    momentum_block<F>(x, v, static_cast<C>(job.split_beta), static_cast<C>(job.split_weight));
    return scratch;
}

// Each format keeps functions of its own: inlined into one, they would compete for registers.

// Pack under the commonest policies, zero "plus" and NaN "raise", without momentum. Four streams at a time, each with a
// prefetch: a single stream leaves memory idle while the next page's address is looked up.
template <typename F> [[gnu::noinline]] static bool pack_plus(const PackJob& job, size_t begin, size_t end) {
    using S = typename F::Storage;
    constexpr size_t kStreams = 4, kBlockBytes = kBlock * sizeof(S), kAhead = 512;
    SignReader<F> reader;
    const char* bytes = static_cast<const char*>(job.x);
    Word* words = job.words;
    const size_t full = job.d / kBlock < end ? job.d / kBlock : end;
    const size_t part = full > begin ? (full - begin) / kStreams : 0;
    for (size_t w = begin; w < begin + part; ++w) {
#pragma GCC unroll 4
        for (size_t stream = 0; stream < kStreams; ++stream) {
            const size_t at = w + stream * part;
#pragma GCC unroll 8
            for (size_t line = 0; line < kBlockBytes; line += 64) prefetch(bytes + at * kBlockBytes + kAhead + line);
            words[at] = ~reader.negative(static_cast<const S*>(job.x) + at * kBlock);
        }
    }
    for_blocks(static_cast<const S*>(job.x), static_cast<S*>(nullptr), job.d, begin + kStreams * part, end,
               [&](size_t w, const S* x, S*, Word valid) { words[w] = ~reader.negative(x) & valid; });
    return reader.saw_nan();
}

template <typename F> [[gnu::noinline]] static bool pack_momentum_plus(const PackJob& job, size_t begin, size_t end) {
    using S = typename F::Storage;
    SignReader<F> reader;
    for_blocks(static_cast<const S*>(job.x), static_cast<S*>(job.v), job.d, begin, end,
               [&](size_t w, const S* x, S* v, Word valid) {
                   alignas(64) S scratch[kBlock];
                   job.words[w] = ~reader.negative(step_block<F>(job, x, v, scratch)) & valid;
               });
    return reader.saw_nan();
}

template <typename F> [[gnu::noinline]] static bool pack_any(const PackJob& job, size_t begin, size_t end) {
    using S = typename F::Storage;
    Word nan = 0;
    for_blocks(static_cast<const S*>(job.x), static_cast<S*>(job.v), job.d, begin, end,
               [&](size_t w, const S* x, S* v, Word valid) {
                   alignas(64) S scratch[kBlock];
                   if (v) x = step_block<F>(job, x, v, scratch);
                   const SignMasks m = sign_masks<F>(x);
                   Word vote = job.negate ? m.negative & ~m.nan : ~(m.negative | m.zero | m.nan), voted = valid;
                   if (job.zero == Zero::kPlus) vote |= m.zero;
                   if (job.zero == Zero::kRandom && (m.zero & valid)) {
                       Word random[16];  // one is drawn; GCC 12 warns of an overflow if there is room for no more
                       random_words(job.random, random, job.first_word + w, job.first_word + w + 1);
                       vote |= m.zero & random[0];
                   }
                   if (job.zero == Zero::kAbstain) voted &= ~m.zero;
                   if (job.nan == Nan::kAbstain) voted &= ~m.nan;
                   nan |= m.nan & valid;
                   job.words[w] = vote & voted;
                   if (job.mask) job.mask[w] = voted;
               });
    return nan != 0;
}

static bool pack(const PackJob& job, size_t begin, size_t end) {
    const bool plus = job.zero == Zero::kPlus && job.nan == Nan::kRaise && !job.negate && !job.mask;
    return with_format(job.dtype, [&](auto format) {
        using F = decltype(format);
        if (!plus) return pack_any<F>(job, begin, end);
        return job.v ? pack_momentum_plus<F>(job, begin, end) : pack_plus<F>(job, begin, end);
    });
}

// out[i] = one where the bit is set, minus_one where it is clear, none where the mask is.
template <typename T> struct VoteExpander {
    Expander<T> signs, plus, minus;

    VoteExpander(T one, T minus_one, T none) : signs(one, minus_one), plus(one, none), minus(minus_one, none) {}
    void operator()(Word votes, const Word* mask, T* out) const {
        if (!mask) return signs(votes, out);
        alignas(64) T against[kBlock];
        plus(votes & *mask, out);
        minus(*mask & ~votes, against);
        // One of the two is `none`, a zero of either sign: a sum keeps the other (and the zero's sign, where both are).
        for (int i = 0; i < kBlock; ++i) out[i] = static_cast<T>(out[i] + against[i]);
    }
};

template <typename T> static void unpack_type(const UnpackJob& job, size_t begin, size_t end, T one, T minus_one) {
    const VoteExpander<T> expander(one, minus_one, T{0});
    constexpr size_t kChunk = 4096 / sizeof(T) / kBlock;  // blocks that are streamed together
    alignas(64) T signs[kChunk * kBlock];  // not `out` itself, which the compiler must assume to overlap the job
    T* const out = static_cast<T*>(job.out);
    const bool streams = job.streams && reinterpret_cast<uintptr_t>(job.out) % sizeof(Word) == 0;
    for (size_t chunk = begin; chunk < end; chunk += kChunk) {
        const size_t stop = end - chunk < kChunk ? end : chunk + kChunk, first = chunk * kBlock;
        for (size_t w = chunk; w < stop; ++w)
            expander(job.words[w], job.mask ? &job.mask[w] : nullptr, signs + (w - chunk) * kBlock);
        const size_t n = (job.d < stop * kBlock ? job.d : stop * kBlock) - first, bytes = n * sizeof(T);
        if (streams && bytes == sizeof signs)
            copy_streaming(reinterpret_cast<const Word*>(signs), reinterpret_cast<Word*>(out + first),
                           bytes / sizeof(Word));
        else std::memcpy(out + first, signs, bytes);
    }
    if (streams) stream_fence();
}

static void unpack(const UnpackJob& job, size_t begin, size_t end) {
    if (job.dtype == Dtype::kInt8) return unpack_type<int8_t>(job, begin, end, 1, -1);
    with_format(job.dtype, [&](auto format) {
        using F = decltype(format);
        unpack_type<typename F::Storage>(job, begin, end, F::kOne, F::kMinusOne);
    });
}

template <typename F> [[gnu::noinline]] static void update_format(const UpdateJob& job, size_t begin, size_t end) {
    using S = typename F::Storage;
    using C = typename F::Compute;
    const C decay = static_cast<C>(job.decay), step = F::rounded(static_cast<C>(job.step)), none = step * C{0};
    const VoteExpander<C> expander(step, -step, none);
    for_blocks(static_cast<S*>(job.p), static_cast<S*>(nullptr), job.d, begin, end, [&](size_t w, S* p, S*, Word) {
        alignas(64) C change[kBlock];
        expander(job.words[w], job.mask ? &job.mask[w] : nullptr, change);
        if constexpr (kIsNative<F>) {
            for (int i = 0; i < kBlock; ++i) p[i] = decay * p[i] + change[i];
        } else {
            alignas(64) C a[kBlock];
            F::load(p, a);
            for (int i = 0; i < kBlock; ++i) a[i] *= decay;
            F::round(a);
            for (int i = 0; i < kBlock; ++i) a[i] += change[i];
            F::store(a, p);
        }
    });
}

static void update(const UpdateJob& job, size_t begin, size_t end) {
    with_format(job.dtype, [&](auto format) { update_format<decltype(format)>(job, begin, end); });
}
