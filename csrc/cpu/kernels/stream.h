// Stores past the cache, for results that it cannot hold: what is overwritten is not read first, and what is still
// needed stays in the cache.

// Return how many words lie between p and the next aligned vector.
static inline size_t words_to_alignment(const Word* p) {
    const size_t past = reinterpret_cast<uintptr_t>(p) / sizeof(Word) % kVecWords;
    return past ? kVecWords - past : 0;
}

static inline void copy_streaming(const Word* from, Word* to, size_t n) {
    size_t w = words_to_alignment(to);
    if (w > n) w = n;
    if (w > 0) std::memcpy(to, from, w * sizeof(Word));
    for (; w + kVecWords <= n; w += kVecWords) stream(to + w, load(from + w));
    if (w < n) std::memcpy(to + w, from + w, (n - w) * sizeof(Word));
}
