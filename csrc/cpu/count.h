// Counters that live between calls (Tally), their read-out, and distances between votes.
// Included inside the namespace of its instruction set.

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

static std::uint64_t differences(const DifferenceJob& job, std::size_t begin, std::size_t end) {
    Vec total = broadcast(0);
    std::size_t w = begin;
    for (; w + kVecWords <= end; w += kVecWords) total = add_count(total, difference_vector<false>(job, w, kVecWords));
    if (w < end) total = add_count(total, difference_vector<true>(job, w, end - w));
    return sum_lanes(total);
}
