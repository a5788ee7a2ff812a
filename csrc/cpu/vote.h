// Majorities by counting with carry-save adders: word i of all voters at once, one bit of a counter per plane.
// Included inside the namespace of its instruction set.

constexpr int kMaxDirect = 16;   // voters that are counted in registers
constexpr int kGroup = 16;       // rows added to the counters at a time: 16 + the four low planes is all full adders
// Scratch: the counters of one tile, then kGroup derived rows of it.
static_assert(kCounterWords + kGroup * kTileWords <= kVoteScratchWords);
constexpr std::size_t kPrefetchWords = 64;

constexpr int bit_length(std::uint64_t n) {
    int length = 0;
    for (; n; n >>= 1) ++length;
    return length;
}

// Counts N bits per lane into bit_length(N) planes; x is used up.
template <int N>
static inline void count_rows(Vec* x, Vec* plane) {
    Vec sum = x[0];
    constexpr int kCarries = N / 2;
    Vec carry[kCarries > 0 ? kCarries : 1];
#pragma GCC unroll 8
    for (int i = 0; i < (N - 1) / 2; ++i) {
        carry[i] = majority3(sum, x[2 * i + 1], x[2 * i + 2]);
        sum = xor3(sum, x[2 * i + 1], x[2 * i + 2]);
    }
    if constexpr (N % 2 == 0) {
        carry[kCarries - 1] = bit_and(sum, x[N - 1]);
        sum = bit_xor(sum, x[N - 1]);
    }
    plane[0] = sum;
    if constexpr (N > 1) count_rows<kCarries>(carry, plane + 1);
}

// count > limit, from the lowest plane up: a set bit of the limit asks for this plane, a clear one is beaten by it.
template <int kPlanes, int kLimit>
static inline Vec exceeds(const Vec* plane) {
    Vec result = broadcast(0);
#pragma GCC unroll 8
    for (int p = 0; p < kPlanes; ++p)
        result = (kLimit >> p) & 1 ? bit_and(result, plane[p]) : bit_or(result, plane[p]);
    return result;
}

template <int N, Tie kTie, bool kPart>
static inline void vote_vector(const Word* const* rows, const VoteJob& job, std::size_t w, std::size_t n, const Word* random) {
    constexpr int kPlanes = bit_length(N);
    Vec x[N], plane[kPlanes];
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) {
        x[i] = kPart ? load_part(rows[i] + w, n) : load(rows[i] + w);
        if constexpr (!kPart) prefetch(rows[i] + w + kPrefetchWords);
    }
    count_rows<N>(x, plane);
    constexpr int kMore = N / 2;                  // more than half voted +1
    constexpr int kHalf = N % 2 ? kMore : kMore - 1;  // at least half did
    Vec out = exceeds<kPlanes, kTie == Tie::kPlus ? kHalf : kMore>(plane);
    if constexpr (kTie == Tie::kRandom && N % 2 == 0)
        out = bit_or(out, bit_and(exceeds<kPlanes, kHalf>(plane), kPart ? load_part(random, n) : load(random)));
    Word* to = job.out + (w - job.out_first);
    kPart ? store_part(to, out, n) : store(to, out);
    if constexpr (kTie == Tie::kAbstain) {
        const Vec voted = or_not(out, exceeds<kPlanes, kHalf>(plane));
        Word* mask = job.out_mask + (w - job.out_first);
        kPart ? store_part(mask, voted, n) : store(mask, voted);
    }
}

template <int N, Tie kTie>
static void vote_direct(const VoteJob& job, std::size_t begin, std::size_t end) {
    const Word* rows[N];
    for (int i = 0; i < N; ++i) rows[i] = job.dots[i].words;
    constexpr bool kDraws = kTie == Tie::kRandom && N % 2 == 0;
    constexpr std::size_t kChunk = kDraws ? 64 : ~std::size_t{0} >> 1;
    alignas(64) Word random[kDraws ? 64 : 1];
    for (std::size_t chunk = begin; chunk < end; chunk += kChunk) {
        const std::size_t stop = end - chunk > kChunk ? chunk + kChunk : end;
        if constexpr (kDraws) random_words(job.random, random, job.first_word + chunk, job.first_word + stop);
        std::size_t w = chunk;
        for (; w + kVecWords <= stop; w += kVecWords)
            vote_vector<N, kTie, false>(rows, job, w, kVecWords, random + (kDraws ? w - chunk : 0));
        if (w < stop) vote_vector<N, kTie, true>(rows, job, w, stop - w, random + (kDraws ? w - chunk : 0));
    }
}

using DirectVote = void (*)(const VoteJob&, std::size_t, std::size_t);
template <Tie kTie>
static DirectVote direct_vote(std::size_t n) {
    static constexpr DirectVote table[kMaxDirect + 1] = {
        nullptr,
        vote_direct<1, kTie>, vote_direct<2, kTie>, vote_direct<3, kTie>, vote_direct<4, kTie>,
        vote_direct<5, kTie>, vote_direct<6, kTie>, vote_direct<7, kTie>, vote_direct<8, kTie>,
        vote_direct<9, kTie>, vote_direct<10, kTie>, vote_direct<11, kTie>, vote_direct<12, kTie>,
        vote_direct<13, kTie>, vote_direct<14, kTie>, vote_direct<15, kTie>, vote_direct<16, kTie>,
    };
    return table[n];
}

// One column of the adder tree: N bits of weight 2^plane join the counter's plane; its carries go one plane up.
template <int N>
static inline void add_column(Vec* x, Word* counter, std::size_t stride, int planes) {
    if (planes == 0) return;  // the count fits its planes: what would be carried out is zero
    Vec sum = load(counter);
    constexpr int kCarries = (N + 1) / 2;
    Vec carry[kCarries];
#pragma GCC unroll 8
    for (int i = 0; i < N / 2; ++i) {
        carry[i] = majority3(sum, x[2 * i], x[2 * i + 1]);
        sum = xor3(sum, x[2 * i], x[2 * i + 1]);
    }
    if constexpr (N % 2) {
        carry[kCarries - 1] = bit_and(sum, x[N - 1]);
        sum = bit_xor(sum, x[N - 1]);
    }
    store(counter, sum);
    if constexpr (kCarries > 1) {
        add_column<kCarries>(carry, counter + stride, stride, planes - 1);
    } else {
        for (int p = 1; p < planes; ++p) {
            counter += stride;
            const Vec old = load(counter);
            store(counter, bit_xor(old, carry[0]));
            carry[0] = bit_and(old, carry[0]);
        }
    }
}

template <int N>
static void add_rows(const Word* const* rows, std::size_t words, Word* counter, std::size_t stride, int planes) {
    Vec x[N];
    std::size_t w = 0;
    for (; w + kVecWords <= words; w += kVecWords) {
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) {
            x[i] = load(rows[i] + w);
            prefetch(rows[i] + w + kPrefetchWords);
        }
        add_column<N>(x, counter + w, stride, planes);
    }
    if (w < words) {
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) x[i] = load_part(rows[i] + w, words - w);
        add_column<N>(x, counter + w, stride, planes);
    }
}

using AddRows = void (*)(const Word* const*, std::size_t, Word*, std::size_t, int);
static constexpr AddRows kAddRows[kGroup + 1] = {
    nullptr,      add_rows<1>,  add_rows<2>,  add_rows<3>,  add_rows<4>,  add_rows<5>,
    add_rows<6>,  add_rows<7>,  add_rows<8>,  add_rows<9>,  add_rows<10>, add_rows<11>,
    add_rows<12>, add_rows<13>, add_rows<14>, add_rows<15>, add_rows<16>,
};

template <bool kPart>
static inline Vec dot_vector(const Dot& dot, std::size_t w, std::size_t n) {
    const Vec row = kPart ? load_part(dot.words + w, n) : load(dot.words + w);
    if (dot.kind == DotKind::kRow) return row;
    if (dot.kind == DotKind::kNotRow) return bit_not(row);
    const Vec mask = kPart ? load_part(dot.mask + w, n) : load(dot.mask + w);
    return dot.kind == DotKind::kRowOrNotMask ? or_not(row, mask) : and_not(mask, row);
}

static void derive_row(const Dot& dot, std::size_t first, std::size_t words, Word* out) {
    std::size_t w = 0;
    for (; w + kVecWords <= words; w += kVecWords) store(out + w, dot_vector<false>(dot, first + w, kVecWords));
    if (w < words) store_part(out + w, dot_vector<true>(dot, first + w, words - w), words - w);
}

static inline Vec counter_exceeds(const Word* counter, std::size_t stride, int planes, std::uint64_t limit) {
    Vec result = broadcast(0);
    for (int p = 0; p < planes; ++p) {
        const Vec bits = load(counter + static_cast<std::size_t>(p) * stride);
        result = (limit >> p) & 1 ? bit_and(result, bits) : bit_or(result, bits);
    }
    return result;
}

static void decide_tile(const VoteJob& job, const Word* counter, std::size_t stride, int planes, std::size_t first, std::size_t words) {
    const bool tie_possible = job.maximum % 2 == 0;
    const std::uint64_t more = job.offset + job.maximum / 2, half = tie_possible ? more - 1 : more;
    const bool random = job.tie == Tie::kRandom && tie_possible;
    alignas(64) Word draws[kTileWords];
    if (random) random_words(job.random, draws, job.first_word + first, job.first_word + first + words);
    for (std::size_t w = 0; w < words; w += kVecWords) {
        const std::size_t n = words - w < kVecWords ? words - w : kVecWords;
        Vec out = counter_exceeds(counter + w, stride, planes, job.tie == Tie::kPlus ? half : more);
        const std::size_t to = first + w - job.out_first;
        if (random)
            out = bit_or(out, bit_and(counter_exceeds(counter + w, stride, planes, half), load_part(draws + w, n)));
        if (job.tie == Tie::kAbstain)
            store_part(job.out_mask + to, or_not(out, counter_exceeds(counter + w, stride, planes, half)), n);
        store_part(job.out + to, out, n);
    }
}

// Any number of rows, weights and masks: bit-sliced counters of one tile stay in the cache while the rows stream by.
static void vote_tiled(const VoteJob& job, Word* scratch, std::size_t begin, std::size_t end) {
    const int planes = job.chain_planes ? job.chain_planes : bit_length(job.maximum);
    const std::size_t tile = chain_tile(planes);
    for (std::size_t first = begin; first < end; first += tile) {
        const std::size_t words = end - first < tile ? end - first : tile;
        if (!job.continues) std::memset(scratch, 0, static_cast<std::size_t>(planes) * tile * sizeof(Word));
        for (std::size_t i = 0; i < job.num_dots;) {
            const int plane = job.dots[i].plane;
            const Word* rows[kGroup];
            int n = 0;
            for (; n < kGroup && i < job.num_dots && job.dots[i].plane == plane; ++n, ++i) {
                const Dot& dot = job.dots[i];
                Word* derived = scratch + kCounterWords + static_cast<std::size_t>(n) * kTileWords;
                if (dot.kind != DotKind::kRow) derive_row(dot, first, words, derived);
                rows[n] = dot.kind == DotKind::kRow ? dot.words + first : derived;
            }
            kAddRows[n](rows, words, scratch + static_cast<std::size_t>(plane) * tile, tile, planes - plane);
        }
        decide_tile(job, scratch, tile, planes, first, words);
    }
}

// Nobody has a weight: every coordinate is a tie.
static void vote_nobody(const VoteJob& job, std::size_t begin, std::size_t end) {
    const Word fill = job.tie == Tie::kPlus ? ~Word{0} : 0;
    if (job.tie == Tie::kRandom) {
        random_words(job.random, job.out + (begin - job.out_first), job.first_word + begin, job.first_word + end);
    } else {
        for (std::size_t w = begin; w < end; ++w) job.out[w - job.out_first] = fill;
    }
    if (job.tie == Tie::kAbstain) std::memset(job.out_mask + (begin - job.out_first), 0, (end - begin) * sizeof(Word));
}

static void vote(const VoteJob& job, Word* scratch, std::size_t begin, std::size_t end) {
    if (begin >= end) return;
    if (job.maximum == 0) {
        vote_nobody(job, begin, end);
    } else if (job.plain && job.num_dots <= kMaxDirect && !job.chain_planes) {
        const std::size_t n = job.num_dots;
        const DirectVote direct = job.tie == Tie::kPlus     ? direct_vote<Tie::kPlus>(n)
                                  : job.tie == Tie::kMinus  ? direct_vote<Tie::kMinus>(n)
                                  : job.tie == Tie::kRandom ? direct_vote<Tie::kRandom>(n)
                                                            : direct_vote<Tie::kAbstain>(n);
        direct(job, begin, end);
    } else {
        vote_tiled(job, scratch, begin, end);
    }
    if (end == (job.d + kWordBits - 1) / kWordBits && job.d % kWordBits) {  // padding bits stay zero
        const Word valid = (Word{1} << (job.d % kWordBits)) - 1;
        job.out[end - 1 - job.out_first] &= valid;
        if (job.out_mask) job.out_mask[end - 1 - job.out_first] &= valid;
    }
}
