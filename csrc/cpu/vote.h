// Majorities by counting with carry-save adders: word i of all voters at once, one bit of a counter per plane.
// Included inside the namespace of its instruction set.

constexpr int kMaxDirect = 16;   // voters that are counted in registers
constexpr int kGroup = kGroupRows;  // rows added to the counters at a time: 16 + the four low planes is all full adders
constexpr std::size_t kDifferenceWords = 32768;  // 256 KiB of rows
constexpr int kByteCounts = 31;  // vectors whose bits a byte can count

static inline Word valid_word(std::size_t d, std::size_t w) {
    return (w + 1) * kWordBits <= d ? ~Word{0} : (Word{1} << (d % kWordBits)) - 1;
}

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

// Where rows differ from the result, counted while they are in registers or the nearest cache: memory stays the limit.
template <int N>
struct Differences {
    Vec bytes[N];
    int pending = 0;

    Differences() {
        for (Vec& b : bytes) b = broadcast(0);
    }
    void flush(std::uint64_t* totals) {
        for (int i = 0; i < N; ++i) {
            totals[i] += sum_lanes(add_bytes(broadcast(0), bytes[i]));
            bytes[i] = broadcast(0);
        }
        pending = 0;
    }
    void counted(std::uint64_t* totals) {
        if (++pending == kByteCounts) flush(totals);
    }
};

// Of a job, what every vector needs: copied, since the compiler must fear that storing a result changes the job.
struct Target {
    Word* out;  // at word w of the vote
    Word* mask;
    std::size_t prefetch_words;
};

template <int N, Tie kTie, bool kPart>
static inline void vote_vector(const Word* const* rows, const VoteJob& job, const Target& target, std::size_t w, std::size_t n,
                               const Word* random, Differences<N>* differences) {
    constexpr int kPlanes = bit_length(N);
    Vec x[N], plane[kPlanes];
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) {
        x[i] = kPart ? load_part(rows[i] + w, n) : load(rows[i] + w);
        if constexpr (!kPart) prefetch(rows[i] + w + target.prefetch_words);
    }
    count_rows<N>(x, plane);
    constexpr int kMore = N / 2;                      // more than half voted +1
    constexpr int kHalf = N % 2 ? kMore : kMore - 1;  // at least half did
    Vec out = exceeds<kPlanes, kTie == Tie::kPlus ? kHalf : kMore>(plane);
    if constexpr (kTie == Tie::kRandom && N % 2 == 0)
        out = bit_or(out, bit_and(exceeds<kPlanes, kHalf>(plane), kPart ? load_part(random, n) : load(random)));
    Word* to = target.out + w;
    kPart ? store_part(to, out, n) : store(to, out);
    Vec voted;
    if constexpr (kTie == Tie::kAbstain) {
        voted = or_not(out, exceeds<kPlanes, kHalf>(plane));
        Word* mask = target.mask + w;
        kPart ? store_part(mask, voted, n) : store(mask, voted);
    }
    if (differences) {
        // Of a part, lanes without words are zero in the rows; in the result and in padding they may be anything.
        Vec valid = broadcast(~Word{0});
        if constexpr (kPart) {
            Word bits[kVecWords] = {};
            for (std::size_t i = 0; i < n; ++i) bits[i] = valid_word(job.d, w + i);
            valid = load(bits);
        }
        if constexpr (kTie == Tie::kAbstain) valid = bit_and(valid, voted);
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) {
            Vec bits = bit_xor(kPart ? load_part(rows[i] + w, n) : load(rows[i] + w), out);
            if constexpr (kPart || kTie == Tie::kAbstain) bits = bit_and(bits, valid);
            differences->bytes[i] = add_byte_counts(differences->bytes[i], bits);
        }
        differences->counted(job.differences);
    }
}

template <int N, Tie kTie>
static void vote_direct(const VoteJob& job, std::size_t begin, std::size_t end) {
    const Word* rows[N];
    for (int i = 0; i < N; ++i) rows[i] = job.dots[i].words;
    constexpr bool kDraws = kTie == Tie::kRandom && N % 2 == 0;
    constexpr std::size_t kChunk = kDraws ? 64 : ~std::size_t{0} >> 1;
    alignas(64) Word random[kDraws ? 64 : 1];
    Differences<N> counts;
    Differences<N>* const differences = job.differences ? &counts : nullptr;
    const Target target{job.out - job.out_first, job.out_mask ? job.out_mask - job.out_first : nullptr, job.prefetch_words};
    // The last word of a vote may have padding: it goes as a part.
    const std::size_t whole = job.d / kWordBits < end ? job.d / kWordBits : end;
    for (std::size_t chunk = begin; chunk < end; chunk += kChunk) {
        const std::size_t stop = end - chunk > kChunk ? chunk + kChunk : end;
        if constexpr (kDraws) random_words(job.random, random, job.first_word + chunk, job.first_word + stop);
        std::size_t w = chunk;
        for (; w + kVecWords <= stop && w + kVecWords <= whole; w += kVecWords)
            vote_vector<N, kTie, false>(rows, job, target, w, kVecWords, random + (kDraws ? w - chunk : 0), differences);
        for (; w < stop; w += kVecWords) {
            const std::size_t n = stop - w < kVecWords ? stop - w : kVecWords;
            vote_vector<N, kTie, true>(rows, job, target, w, n, random + (kDraws ? w - chunk : 0), differences);
        }
    }
    if (differences) counts.flush(job.differences);
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

// The tile before the one that is being counted: its result is known and its rows are still in the cache.
struct Before {
    const Word* out;   // nullptr: there is none
    const Word* mask;  // nullptr: every coordinate voted
    std::size_t words; // rows[w - words] is row w of that tile
};

template <int N>
static void add_rows(const Word* const* rows, std::size_t words, Word* counter, std::size_t stride, int planes,
                     std::size_t prefetch_words, const Before& before, std::uint64_t* totals) {
    Vec x[N];
    Differences<N> differences;
    std::size_t w = 0;
    for (; w + kVecWords <= words; w += kVecWords) {
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) {
            x[i] = load(rows[i] + w);
            prefetch(rows[i] + w + prefetch_words);
        }
        add_column<N>(x, counter + w, stride, planes);
        if (before.out) {
            const Vec out = load(before.out + w);
            const Vec voted = before.mask ? load(before.mask + w) : broadcast(~Word{0});
#pragma GCC unroll 16
            for (int i = 0; i < N; ++i)
                differences.bytes[i] = add_byte_counts(differences.bytes[i], bit_and(bit_xor(load(rows[i] + w - before.words), out), voted));
            differences.counted(totals);
        }
    }
    if (before.out) differences.flush(totals);
    if (w < words) {
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) x[i] = load_part(rows[i] + w, words - w);
        add_column<N>(x, counter + w, stride, planes);
    }
}

using AddRows = void (*)(const Word* const*, std::size_t, Word*, std::size_t, int, std::size_t, const Before&, std::uint64_t*);
static constexpr AddRows kAddRows[kGroup + 1] = {
    nullptr,      add_rows<1>,  add_rows<2>,  add_rows<3>,  add_rows<4>,  add_rows<5>,
    add_rows<6>,  add_rows<7>,  add_rows<8>,  add_rows<9>,  add_rows<10>, add_rows<11>,
    add_rows<12>, add_rows<13>, add_rows<14>, add_rows<15>, add_rows<16>,
};

// Voters with masks, two dots each: the vote, and "not a vote against", made as they are counted.
template <int N>
static void add_masked(const Dot* dots, std::size_t first, std::size_t words, Word* counter, std::size_t stride, int planes) {
    const Word *rows[N], *masks[N];
    for (int i = 0; i < N; ++i) {
        rows[i] = dots[2 * i].words + first;
        masks[i] = dots[2 * i].mask + first;
    }
    Vec x[2 * N];
    std::size_t w = 0;
    for (; w + kVecWords <= words; w += kVecWords) {
#pragma GCC unroll 8
        for (int i = 0; i < N; ++i) {
            x[2 * i] = load(rows[i] + w);
            x[2 * i + 1] = or_not(x[2 * i], load(masks[i] + w));
            prefetch(rows[i] + w + kPrefetchWords);
            prefetch(masks[i] + w + kPrefetchWords);
        }
        add_column<2 * N>(x, counter + w, stride, planes);
    }
    if (w < words) {
#pragma GCC unroll 8
        for (int i = 0; i < N; ++i) {
            x[2 * i] = load_part(rows[i] + w, words - w);
            x[2 * i + 1] = or_not(x[2 * i], load_part(masks[i] + w, words - w));
        }
        add_column<2 * N>(x, counter + w, stride, planes);
    }
}

using AddMasked = void (*)(const Dot*, std::size_t, std::size_t, Word*, std::size_t, int);
static constexpr AddMasked kAddMasked[kGroup / 2 + 1] = {nullptr,       add_masked<1>, add_masked<2>, add_masked<3>, add_masked<4>,
                                                         add_masked<5>, add_masked<6>, add_masked<7>, add_masked<8>};

// How many voters with masks follow each other from dot i on, up to a group's worth.
static int masked_voters(const VoteJob& job, std::size_t i) {
    int n = 0;
    for (; n < kGroup / 2 && i + 1 < job.num_dots; ++n, i += 2) {
        const Dot &vote = job.dots[i], &against = job.dots[i + 1];
        if (!vote.mask || vote.kind != DotKind::kRow || against.kind != DotKind::kRowOrNotMask) break;
        if (vote.words != against.words || vote.mask != against.mask || vote.plane != against.plane) break;
        if (n > 0 && vote.plane != job.dots[i - 2].plane) break;
    }
    return n;
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
    alignas(64) Word draws[kPlainTileWords];
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

// The differences of words whose result is known.
static void count_differences(const VoteJob& job, std::size_t begin, std::size_t end) {
    const Word* out = job.out - job.out_first;
    const Word* mask = job.out_mask ? job.out_mask - job.out_first : nullptr;
    const std::size_t whole = job.d / kWordBits < end ? job.d / kWordBits : end;
    for (std::size_t i = 0; i < job.num_dots; ++i) {
        job.differences[i] += differences({job.dots[i].words, out, nullptr, mask}, begin, whole);
        for (std::size_t w = whole; w < end; ++w) {
            const Word bits = (job.dots[i].words[w] ^ out[w]) & valid_word(job.d, w) & (mask ? mask[w] : ~Word{0});
            job.differences[i] += sum_lanes(add_count(broadcast(0), broadcast(bits))) / kVecWords;
        }
    }
}

// Any number of rows, weights and masks: bit-sliced counters of one tile stay in the cache while the rows stream by.
static void vote_tiled(const VoteJob& job, Word* scratch, std::size_t begin, std::size_t end) {
    const int planes = job.chain_planes ? job.chain_planes : bit_length(job.maximum);
    std::size_t tile = counter_tile(planes, job.plain && !job.chain_planes);
    if (job.differences) {  // all rows of the tile before are read once more: from the cache, if they fit
        const std::size_t fits = kDifferenceWords / job.num_dots / 8 * 8;
        tile = fits < 64 ? 64 : fits < tile ? fits : tile;
    }
    Before before{nullptr, nullptr, tile};
    for (std::size_t first = begin; first < end; first += tile) {
        const std::size_t words = end - first < tile ? end - first : tile;
        if (words < tile && before.out) {  // the last tile is shorter: it cannot take the one before along
            count_differences(job, first - tile, first);
            before.out = nullptr;
        }
        if (!job.continues) std::memset(scratch, 0, static_cast<std::size_t>(planes) * tile * sizeof(Word));
        for (std::size_t i = 0; i < job.num_dots;) {
            const std::size_t first_dot = i;
            const int plane = job.dots[i].plane;
            Word* counter = scratch + static_cast<std::size_t>(plane) * tile;
            if (const int voters = masked_voters(job, i); voters > 0) {
                kAddMasked[voters](job.dots + i, first, words, counter, tile, planes - plane);
                i += 2 * static_cast<std::size_t>(voters);
                continue;
            }
            const Word* rows[kGroup];
            int n = 0;
            for (; n < kGroup && i < job.num_dots && job.dots[i].plane == plane; ++n, ++i) {
                const Dot& dot = job.dots[i];
                Word* derived = scratch + kCounterWords + static_cast<std::size_t>(n) * kDerivedTileWords;
                if (dot.kind != DotKind::kRow) derive_row(dot, first, words, derived);
                rows[n] = dot.kind == DotKind::kRow ? dot.words + first : derived;
            }
            kAddRows[n](rows, words, counter, tile, planes - plane, job.prefetch_words, before,
                        job.differences ? job.differences + first_dot : nullptr);
        }
        decide_tile(job, scratch, tile, planes, first, words);
        if (!job.differences) continue;
        if (words < tile || first + words == end) {
            count_differences(job, first, first + words);
        } else {
            before = {job.out + (first - job.out_first), job.out_mask ? job.out_mask + (first - job.out_first) : nullptr, tile};
        }
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
    if (job.differences) count_differences(job, begin, end);
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
