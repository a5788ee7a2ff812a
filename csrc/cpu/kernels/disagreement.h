// Distances between votes.

template <bool kPart> static inline Vec difference_vector(const DifferenceJob& job, size_t w, size_t n) {
    const auto get = [&](const Word* p) { return kPart ? load_part(p + w, n) : load(p + w); };
    Vec bits = bit_xor(get(job.a), get(job.b));
    if (job.mask_a) bits = bit_and(bits, get(job.mask_a));
    if (job.mask_b) bits = bit_and(bits, get(job.mask_b));
    return bits;
}

static inline Vec add_count(Vec total, Vec a) { return add_bytes(total, add_byte_counts(broadcast(0), a)); }

static inline void full_add(Vec& sum, Vec b, Vec c, Vec& carry) {
    carry = majority3(sum, b, c);
    sum = xor3(sum, b, c);
}

// Send eight vectors at a time through full adders, so that only one in eight is counted (Harley and Seal).
static uint64_t differences(const DifferenceJob& job, size_t begin, size_t end) {
    constexpr size_t kStride = 8 * kVecWords;
    const Vec none = broadcast(0);
    Vec eights = none, ones = none, twos = none, fours = none;
    size_t w = begin;
    for (; w + kStride <= end; w += kStride) {
        Vec two_a, two_b, two_c, two_d, four_a, four_b, eight;
        const auto bits = [&](size_t i) {
            prefetch(job.a + w + i * kVecWords + kPrefetchWords);
            return difference_vector<false>(job, w + i * kVecWords, kVecWords);
        };
        full_add(ones, bits(0), bits(1), two_a);
        full_add(ones, bits(2), bits(3), two_b);
        full_add(twos, two_a, two_b, four_a);
        full_add(ones, bits(4), bits(5), two_c);
        full_add(ones, bits(6), bits(7), two_d);
        full_add(twos, two_c, two_d, four_b);
        full_add(fours, four_a, four_b, eight);
        eights = add_count(eights, eight);
    }
    Vec total = none;
    for (; w + kVecWords <= end; w += kVecWords) total = add_count(total, difference_vector<false>(job, w, kVecWords));
    if (w < end) total = add_count(total, difference_vector<true>(job, w, end - w));
    return 8 * sum_lanes(eights) + 4 * sum_lanes(add_count(none, fours)) + 2 * sum_lanes(add_count(none, twos)) +
           sum_lanes(add_count(total, ones));
}
