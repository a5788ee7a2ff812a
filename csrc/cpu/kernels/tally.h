// Counters that live between calls (Tally), and their read-out.

template <bool kPart> static inline Vec dot_vector(const Dot& dot, size_t w, size_t n) {
    const Vec row = kPart ? load_part(dot.words + w, n) : load(dot.words + w);
    if (dot.kind == DotKind::kRow) return row;
    if (dot.kind == DotKind::kNotRow) return bit_not(row);
    const Vec mask = kPart ? load_part(dot.mask + w, n) : load(dot.mask + w);
    return dot.kind == DotKind::kRowOrNotMask ? or_not(row, mask) : and_not(mask, row);
}

template <bool kPart> static inline void accumulate_vector(const AccumulateJob& job, size_t w, size_t n, Word valid) {
    Vec carry = dot_vector<kPart>(job.source, w, n);
    if (kPart) carry = bit_and(carry, broadcast(valid));
    for (size_t l = 0; l < job.num_levels; ++l) {
        const Vec sum = kPart ? load_part(job.sum[l] + w, n) : load(job.sum[l] + w);
        const Vec pending = kPart ? load_part(job.pending[l] + w, n) : load(job.pending[l] + w);
        const Vec total = xor3(sum, pending, carry);
        carry = majority3(sum, pending, carry);
        kPart ? store_part(job.sum[l] + w, total, n) : store(job.sum[l] + w, total);
    }
    kPart ? store_part(job.rest + w, carry, n) : store(job.rest + w, carry);
}

static void accumulate(const AccumulateJob& job, size_t begin, size_t end) {
    // The last, incomplete word goes alone: a complemented row has ones in its padding.
    const size_t whole = job.d / kWordBits < end ? job.d / kWordBits : end;
    size_t w = begin;
    for (; w + kVecWords <= whole; w += kVecWords) accumulate_vector<false>(job, w, kVecWords, 0);
    if (w < whole) accumulate_vector<true>(job, w, whole - w, ~Word{0});
    if (whole < end) accumulate_vector<true>(job, whole, 1, valid_bits(job.d, whole));
}

static void margin(const MarginJob& job, size_t begin, size_t end) {
    for_blocks(job.out, static_cast<int32_t*>(nullptr), job.d, begin, end, [&](size_t w, int32_t* out, int32_t*, Word) {
        for (int i = 0; i < kBlock; ++i) out[i] = static_cast<int32_t>(-job.offset);
        for (size_t k = 0; k < job.num_dots; ++k) {
            const Word bits = job.dots[k].words[w];
            const int plane = job.dots[k].plane;
            for (int i = 0; i < kBlock; ++i) out[i] += static_cast<int32_t>(((bits >> i) & 1) << plane);
        }
    });
}
