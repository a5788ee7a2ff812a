// What memory allows: loops that only read, or only copy. Benchmarks divide by them.
// Included inside the namespace of its instruction set.

static Word read_only(const Word* words, std::size_t begin, std::size_t end) {
    constexpr std::size_t kStride = 8 * kVecWords;
    Vec sum[8];
    for (Vec& s : sum) s = broadcast(0);
    std::size_t w = begin;
    for (; w + kStride <= end; w += kStride) {
#pragma GCC unroll 8
        for (std::size_t i = 0; i < 8; ++i) sum[i] = bit_xor(sum[i], load(words + w + i * kVecWords));
    }
    for (std::size_t i = 1; i < 8; ++i) sum[0] = bit_xor(sum[0], sum[i]);
    Word part[kVecWords], total = 0;
    store(part, sum[0]);
    for (const Word p : part) total ^= p;
    for (; w < end; ++w) total ^= words[w];
    return total;
}

// Reads and rewrites `to` as the optimizer's kernels do their buffers: to[w] ^= from[w].
static void read_and_rewrite(const Word* from, Word* to, std::size_t begin, std::size_t end) {
    std::size_t w = begin;
    for (; w + kVecWords <= end; w += kVecWords) store(to + w, bit_xor(load(to + w), load(from + w)));
    for (; w < end; ++w) to[w] ^= from[w];
}

static void copy_words(const Word* from, Word* to, std::size_t begin, std::size_t end) {
    std::size_t w = begin;
    for (; w + kVecWords <= end; w += kVecWords) store(to + w, load(from + w));
    for (; w < end; ++w) to[w] = from[w];
}
