// Counters that live between calls (Tally), their read-out, and distances between votes.
// Included inside the namespace of its instruction set.

template <bool kPart>
static inline Vec dot_vector(const Dot& dot, std::size_t w, std::size_t n) {
    const Vec row = kPart ? load_part(dot.words + w, n) : load(dot.words + w);
    if (dot.kind == DotKind::kRow) return row;
    if (dot.kind == DotKind::kNotRow) return bit_not(row);
    const Vec mask = kPart ? load_part(dot.mask + w, n) : load(dot.mask + w);
    return dot.kind == DotKind::kRowOrNotMask ? or_not(row, mask) : and_not(mask, row);
}

template <bool kPart>
static inline void accumulate_vector(const AccumulateJob& job, const Dot& source, std::size_t w, std::size_t n, Word valid) {
    Vec carry = dot_vector<kPart>(source, w - job.source_first, n);
    if (kPart) carry = bit_and(carry, broadcast(valid));
    for (std::size_t l = 0; l < job.num_levels; ++l) {
        const Vec sum = kPart ? load_part(job.sum[l] + w, n) : load(job.sum[l] + w);
        const Vec pending = kPart ? load_part(job.pending[l] + w, n) : load(job.pending[l] + w);
        const Vec total = xor3(sum, pending, carry);
        carry = majority3(sum, pending, carry);
        kPart ? store_part(job.sum[l] + w, total, n) : store(job.sum[l] + w, total);
    }
    kPart ? store_part(job.rest + w, carry, n) : store(job.rest + w, carry);
}

static void accumulate(const AccumulateJob& job, std::size_t begin, std::size_t end) {
    // The last, incomplete word goes alone: a complemented row has ones in its padding.
    const std::size_t whole = job.d / kWordBits < end ? job.d / kWordBits : end;
    std::size_t w = begin;
    for (; w + kVecWords <= whole; w += kVecWords) accumulate_vector<false>(job, job.source, w, kVecWords, 0);
    if (w < whole) accumulate_vector<true>(job, job.source, w, whole - w, ~Word{0});
    if (whole < end) accumulate_vector<true>(job, job.source, whole, 1, (Word{1} << (job.d % kWordBits)) - 1);
}

static void margin(const MarginJob& job, std::size_t begin, std::size_t end) {
    for_blocks(job.out, static_cast<std::int32_t*>(nullptr), job.d, begin, end,
               [&](std::size_t w, std::int32_t* out, std::int32_t*, int) {
                   for (int i = 0; i < kBlock; ++i) out[i] = static_cast<std::int32_t>(-job.offset);
                   for (std::size_t k = 0; k < job.num_dots; ++k) {
                       const Word bits = job.dots[k].words[w];
                       const int plane = job.dots[k].plane;
                       for (int i = 0; i < kBlock; ++i) out[i] += static_cast<std::int32_t>(((bits >> i) & 1) << plane);
                   }
               });
}

template <bool kPart>
static inline Vec difference_vector(const DifferenceJob& job, std::size_t w, std::size_t n) {
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

// Bits of eight vectors at a time through full adders, so that only one vector in eight is counted (Harley and Seal).
static std::uint64_t differences(const DifferenceJob& job, std::size_t begin, std::size_t end) {
    constexpr std::size_t kStride = 8 * kVecWords;
    const Vec none = broadcast(0);
    Vec eights = none, ones = none, twos = none, fours = none;
    std::size_t w = begin;
    for (; w + kStride <= end; w += kStride) {
        Vec two_a, two_b, two_c, two_d, four_a, four_b, eight;
        const auto bits = [&](std::size_t i) {
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
