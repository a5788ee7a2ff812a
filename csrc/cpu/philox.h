// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
// Included inside the namespace of its instruction set; the loop over words is what the compiler vectorises.

static void random_words(const RandomStream& stream, Word* out, std::size_t begin, std::size_t end) {
    for (std::size_t w = begin; w < end; ++w) {
        std::uint32_t c0 = static_cast<std::uint32_t>(w), c1 = static_cast<std::uint32_t>(std::uint64_t{w} >> 32);
        std::uint32_t c2 = stream.stream, c3 = stream.purpose, k0 = stream.seed, k1 = stream.step;
#pragma GCC unroll 10
        for (int round = 0; round < 10; ++round) {
            const std::uint64_t p0 = std::uint64_t{c0} * 0xD2511F53u, p1 = std::uint64_t{c2} * 0xCD9E8D57u;
            c0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
            c1 = static_cast<std::uint32_t>(p1);
            c2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
            c3 = static_cast<std::uint32_t>(p0);
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        out[w - begin] = c0 | std::uint64_t{c1} << 32;
    }
}
