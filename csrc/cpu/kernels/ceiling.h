// Memory's own speed: loops that only read, copy or rewrite. Benchmarks divide by them.

// Read four streams with a prefetch each: faster, on the machines tried, than one stream with or without.
static Word read_words(const Word* words, size_t begin, size_t end) {
    constexpr size_t kStreams = 4, kStride = 2 * kVecWords;
    const size_t part = (end - begin) / kStreams / kStride * kStride;
    Vec sum[2 * kStreams];
    for (Vec& s : sum) s = broadcast(0);
    for (size_t w = begin; w < begin + part; w += kStride) {
#pragma GCC unroll 4
        for (size_t i = 0; i < kStreams; ++i) {
            const Word* from = words + w + i * part;
            sum[2 * i] = bit_xor(sum[2 * i], load(from));
            sum[2 * i + 1] = bit_xor(sum[2 * i + 1], load(from + kVecWords));
            prefetch(from + kPrefetchWords);
            prefetch(from + kPrefetchWords + kVecWords);
        }
    }
    for (size_t i = 1; i < 2 * kStreams; ++i) sum[0] = bit_xor(sum[0], sum[i]);
    Word lanes[kVecWords], total = 0;
    store(lanes, sum[0]);
    for (const Word lane : lanes) total ^= lane;
    for (size_t w = begin + kStreams * part; w < end; ++w) total ^= words[w];
    return total;
}

// Read and rewrite `to` as the optimizer's kernels do their buffers: to[w] ^= from[w].
static void rewrite_words(const Word* from, Word* to, size_t begin, size_t end) {
    size_t w = begin;
    for (; w + kVecWords <= end; w += kVecWords) store(to + w, bit_xor(load(to + w), load(from + w)));
    for (; w < end; ++w) to[w] ^= from[w];
}

static void copy_words(const Word* from, Word* to, size_t begin, size_t end) {
    size_t w = begin;
    for (; w + kVecWords <= end; w += kVecWords) store(to + w, load(from + w));
    for (; w < end; ++w) to[w] = from[w];
}
