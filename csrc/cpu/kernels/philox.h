// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// One word a 64-bit lane: a round reads only the low halves
// of its operands, so what the products leave in the high halves needs no clearing.

template <int kVectors>
static inline void philox_vectors(const RandomStream& stream, std::uint64_t word, Word* out) {
    Vec c0[kVectors], c1[kVectors], c2[kVectors], c3[kVectors];
    for (int i = 0; i < kVectors; ++i) {
        Word low[kVecWords], high[kVecWords];
        for (std::size_t j = 0; j < kVecWords; ++j) {
            const std::uint64_t w = word + static_cast<std::size_t>(i) * kVecWords + j;
            low[j] = w & 0xffffffffu;
            high[j] = w >> 32;
        }
        c0[i] = load(low);
        c1[i] = load(high);
        c2[i] = broadcast(stream.stream);
        c3[i] = broadcast(stream.purpose);
    }
    const Vec m0 = broadcast(0xD2511F53u), m1 = broadcast(0xCD9E8D57u);
    std::uint32_t k0 = stream.seed, k1 = stream.step;
    for (int round = 0; round < 10; ++round) {
        const Vec key0 = broadcast(k0), key1 = broadcast(k1);
#pragma GCC unroll 4
        for (int i = 0; i < kVectors; ++i) {
            const Vec p0 = multiply_low_halves(c0[i], m0), p1 = multiply_low_halves(c2[i], m1);
            c0[i] = xor3(high_half(p1), c1[i], key0);
            c1[i] = p1;
            c2[i] = xor3(high_half(p0), c3[i], key1);
            c3[i] = p0;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < kVectors; ++i)
        store(out + static_cast<std::size_t>(i) * kVecWords, join_low_halves(c0[i], c1[i]));
}

static void random_words(const RandomStream& stream, Word* out, std::size_t begin, std::size_t end) {
    constexpr std::size_t kStride = 4 * kVecWords;  // four vectors at a time hide the multiplier's latency
    std::size_t w = begin;
    for (; w + kStride <= end; w += kStride) philox_vectors<4>(stream, w, out + (w - begin));
    for (; w < end; w += kVecWords) {
        Word part[kVecWords];
        philox_vectors<1>(stream, w, part);
        const std::size_t n = end - w < kVecWords ? end - w : kVecWords;
        std::memcpy(out + (w - begin), part, n * sizeof(Word));
    }
}
