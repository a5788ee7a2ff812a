// The checksum of a frame.

// Sum SplitMix64's finaliser of each word and its place, so that any order and any cut gives the same result (Steele,
// Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
static uint64_t checksum(const Word* words, size_t begin, size_t end) {
    uint64_t sum = 0;
    for (size_t i = begin; i < end; ++i) {
        uint64_t z = words[i] + (i + 1) * 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        sum += z ^ (z >> 31);
    }
    return sum;
}
