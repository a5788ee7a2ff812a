// Votes of many voters, and those with weights, masks or counters: the counters of a tile stay in the cache while the
// rows stream by.

constexpr size_t kDifferenceWords = 32768;  // 256 KiB of rows

// The tile before the one that is being counted: its result is known and its rows are still in the cache.
struct Before {
    const Word* out;   // nullptr: there is none
    const Word* mask;  // nullptr: every coordinate voted
    size_t words;      // rows[w - words] is row w of that tile
};

template <int N> static void add_rows(const Word* const* rows, size_t words, Word* counter, size_t stride, int planes,
                                      const Before& before, uint64_t* totals) {
    Vec x[N];
    Differences<N> differences;
    size_t w = 0;
    for (; w + kVecWords <= words; w += kVecWords) {
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) {
            x[i] = load(rows[i] + w);
            prefetch(rows[i] + w + kPrefetchWords);
        }
        add_column<N>(x, counter + w, stride, planes);
        if (before.out) {
            const Vec out = load(before.out + w);
            const Vec voted = before.mask ? load(before.mask + w) : broadcast(~Word{0});
#pragma GCC unroll 16
            for (int i = 0; i < N; ++i)
                differences.bytes[i] = add_byte_counts(differences.bytes[i],
                                                       bit_and(bit_xor(load(rows[i] + w - before.words), out), voted));
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

using AddRows = void (*)(const Word* const*, size_t, Word*, size_t, int, const Before&, uint64_t*);
constexpr auto kAddRows = table_of<AddRows, kGroup>([]<int N>() { return add_rows<N>; });

// Add voters with masks, two dots each: the vote, and "not a vote against", made as they are counted.
template <int N>
static void add_masked(const Dot* dots, size_t first, size_t words, Word* counter, size_t stride, int planes) {
    const Word *rows[N], *masks[N];
    for (int i = 0; i < N; ++i) {
        rows[i] = dots[2 * i].words + first;
        masks[i] = dots[2 * i].mask + first;
    }
    Vec x[2 * N];
    size_t w = 0;
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

using AddMasked = void (*)(const Dot*, size_t, size_t, Word*, size_t, int);
constexpr auto kAddMasked = table_of<AddMasked, kGroup / 2>([]<int N>() { return add_masked<N>; });

// Return how many voters with masks follow each other from dot i on, up to a group's worth.
static int masked_voters(const VoteJob& job, size_t i) {
    int n = 0;
    for (; n < kGroup / 2 && i + 1 < job.num_dots; ++n, i += 2) {
        const Dot &vote = job.dots[i], &against = job.dots[i + 1];
        if (!vote.mask || vote.kind != DotKind::kRow || against.kind != DotKind::kRowOrNotMask) break;
        if (vote.words != against.words || vote.mask != against.mask || vote.plane != against.plane) break;
        if (n > 0 && vote.plane != job.dots[i - 2].plane) break;
    }
    return n;
}

static void derive_row(const Dot& dot, size_t first, size_t words, Word* out) {
    size_t w = 0;
    for (; w + kVecWords <= words; w += kVecWords) store(out + w, dot_vector<false>(dot, first + w, kVecWords));
    if (w < words) store_part(out + w, dot_vector<true>(dot, first + w, words - w), words - w);
}

static void decide_tile(const VoteJob& job, const Word* counter, size_t stride, int planes, size_t first,
                        size_t words) {
    const Tie tie = job.tie;  // copied, since the compiler must assume that storing a result changes the job
    const uint64_t maximum = job.maximum;
    alignas(64) Word random[kPlainTileWords];
    if (tie == Tie::kRandom && maximum % 2 == 0)
        random_words(job.random, random, job.first_word + first, job.first_word + first + words);
    for (size_t w = 0; w < words; w += kVecWords) {
        const size_t n = words_of_vector(words, w), to = first + w - job.out_first;
        const auto [winner, voted] =
            decide(tie, maximum, planes_at(counter + w, stride), planes, [&] { return load_part(random + w, n); });
        if (tie == Tie::kAbstain) store_part(job.out_mask + to, voted, n);
        store_part(job.out + to, winner, n);
    }
}

// Count the differences of words whose result is known.
static void count_differences(const VoteJob& job, size_t begin, size_t end) {
    const Word* out = job.out - job.out_first;
    const Word* mask = job.out_mask ? job.out_mask - job.out_first : nullptr;
    const size_t whole = job.d / kWordBits < end ? job.d / kWordBits : end;
    for (size_t i = 0; i < job.num_dots; ++i) {
        job.differences[i] += differences({job.dots[i].words, out, nullptr, mask}, begin, whole);
        for (size_t w = whole; w < end; ++w) {
            const Word bits = (job.dots[i].words[w] ^ out[w]) & valid_bits(job.d, w) & (mask ? mask[w] : ~Word{0});
            job.differences[i] += sum_lanes(add_count(broadcast(0), broadcast(bits))) / kVecWords;
        }
    }
}

static void vote_tiled(const VoteJob& job, Word* scratch, size_t begin, size_t end) {
    const int planes = bit_length(job.maximum);
    const size_t fits = kCounterWords / static_cast<size_t>(planes) / 8 * 8;
    const size_t most = job.plain ? kPlainTileWords : kDerivedTileWords;
    size_t tile = fits < most ? fits : most;
    if (job.differences) {  // all rows of the tile before are read again, from the cache if they fit
        const size_t cached = job.num_dots <= kDifferenceWords / 256 ? kDifferenceWords / job.num_dots / 64 * 64 : 64;
        tile = cached < tile ? cached : tile;
    }
    Before before{nullptr, nullptr, tile};
    for (size_t first = begin; first < end; first += tile) {
        const size_t words = end - first < tile ? end - first : tile;
        if (words < tile && before.out) {  // the last tile is too short to count the one before on the way
            count_differences(job, first - tile, first);
            before.out = nullptr;
        }
        std::memset(scratch, 0, static_cast<size_t>(planes) * tile * sizeof(Word));
        for (size_t i = 0; i < job.num_dots;) {
            const size_t first_dot = i;
            const int plane = job.dots[i].plane;
            Word* counter = scratch + static_cast<size_t>(plane) * tile;
            if (const int voters = masked_voters(job, i); voters > 0) {
                kAddMasked.of[voters](job.dots + i, first, words, counter, tile, planes - plane);
                i += 2 * static_cast<size_t>(voters);
                continue;
            }
            const Word* rows[kGroup];
            int n = 0;
            for (; n < kGroup && i < job.num_dots && job.dots[i].plane == plane; ++n, ++i) {
                const Dot& dot = job.dots[i];
                Word* derived = scratch + kCounterWords + static_cast<size_t>(n) * kDerivedTileWords;
                if (dot.kind != DotKind::kRow) derive_row(dot, first, words, derived);
                rows[n] = dot.kind == DotKind::kRow ? dot.words + first : derived;
            }
            kAddRows.of[n](rows, words, counter, tile, planes - plane, before,
                           job.differences ? job.differences + first_dot : nullptr);
        }
        decide_tile(job, scratch, tile, planes, first, words);
        if (!job.differences) continue;
        if (words < tile || first + words == end) {
            count_differences(job, first, first + words);
        } else {
            before = {job.out + (first - job.out_first),
                      job.out_mask ? job.out_mask + (first - job.out_first) : nullptr, tile};
        }
    }
}
