// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011). One word per
// 64-bit lane: a round reads only the low halves of its operands, so what the products leave in the high halves needs
// no clearing.

struct PhiloxKeys {
    static constexpr int kRounds = 10;
    Vec first[kRounds], second[kRounds];

    explicit PhiloxKeys(const RandomStream& stream) {
        for (uint32_t round = 0; round < kRounds; ++round) {
            first[round] = broadcast(stream.seed + round * 0x9E3779B9u);
            second[round] = broadcast(stream.step + round * 0xBB67AE85u);
        }
    }
};

template <int kVectors>
static inline void philox_vectors(const RandomStream& stream, const PhiloxKeys& keys, uint64_t word, Word* out) {
    Vec c0[kVectors], c1[kVectors], c2[kVectors], c3[kVectors];
    constexpr Word kLanes[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    for (int i = 0; i < kVectors; ++i) {
        c0[i] = broadcast(word + static_cast<size_t>(i) * kVecWords) + load(kLanes);
        c1[i] = high_half(c0[i]);
        c2[i] = broadcast(stream.stream);
        c3[i] = broadcast(stream.purpose);
    }
    const Vec m0 = broadcast(0xD2511F53u), m1 = broadcast(0xCD9E8D57u);
    for (int round = 0; round < PhiloxKeys::kRounds; ++round) {
#pragma GCC unroll 4
        for (int i = 0; i < kVectors; ++i) {
            const Vec p0 = multiply_low_halves(c0[i], m0), p1 = multiply_low_halves(c2[i], m1);
            c0[i] = xor3(high_half(p1), c1[i], keys.first[round]);
            c1[i] = p1;
            c2[i] = xor3(high_half(p0), c3[i], keys.second[round]);
            c3[i] = p0;
        }
    }
    for (int i = 0; i < kVectors; ++i) store(out + static_cast<size_t>(i) * kVecWords, join_low_halves(c0[i], c1[i]));
}

static void random_words(const RandomStream& stream, Word* out, size_t begin, size_t end) {
    constexpr size_t kStride = 4 * kVecWords;  // four vectors at a time hide the multiplier's latency
    const PhiloxKeys keys(stream);
    size_t w = begin;
    for (; w + kStride <= end; w += kStride) philox_vectors<4>(stream, keys, w, out + (w - begin));
    for (; w < end; w += kVecWords) {
        Word part[kVecWords];
        philox_vectors<1>(stream, keys, w, part);
        const size_t n = end - w < kVecWords ? end - w : kVecWords;
        std::memcpy(out + (w - begin), part, n * sizeof(Word));
    }
}
