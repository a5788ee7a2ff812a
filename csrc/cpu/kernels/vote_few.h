// Plain votes of few voters, a vector of words at a time: all rows are read together, and nothing but the result is
// stored.

constexpr int kMaxByLine = 64;   // voters whose rows are read together: each needs an entry of the first-level TLB
constexpr int kMaxUnrolled = 8;  // voters by line whose number the compiler knows
constexpr int kByteCounts = 31;  // vectors whose bits a byte can count

// Count where rows differ from the result while they are in registers or the nearest cache: memory stays the limit.
template <int N> struct Differences {
    Vec bytes[N];
    size_t rows;
    int pending = 0;

    explicit Differences(size_t num_rows = N) : rows(num_rows) {
        for (Vec& b : bytes) b = broadcast(0);
    }
    void flush(uint64_t* totals) {
        for (size_t i = 0; i < rows; ++i) {
            totals[i] += sum_lanes(add_bytes(broadcast(0), bytes[i]));
            bytes[i] = broadcast(0);
        }
        pending = 0;
    }
    void counted(uint64_t* totals) {
        if (++pending == kByteCounts) flush(totals);
    }
};

// What every vector needs of a job: copied, since the compiler must assume that storing a result changes the job.
struct Target {
    Word* out;  // at word w of the vote
    Word* mask;
    bool streams;

    explicit Target(const VoteJob& job)
        : out(job.out - job.out_first),
          mask(job.out_mask ? job.out_mask - job.out_first : nullptr),
          streams(job.streams) {}
    void put(size_t w, Vec result) const { streams ? stream(out + w, result) : store(out + w, result); }
    // Return where to begin whole vectors: streaming stores must be aligned.
    size_t aligned(size_t begin, size_t end) const {
        const size_t first = streams ? begin + words_to_alignment(out + begin) : begin;
        return first < end ? first : end;
    }
};

template <int N, Tie kTie, bool kPart>
[[gnu::always_inline]] static inline void vote_vector(const Word* const* rows, const Target& target, size_t w, size_t n,
                                                      const Word* random) {
    constexpr int kPlanes = bit_length(N);
    Vec x[N], plane[kPlanes];
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) {
        x[i] = kPart ? load_part(rows[i] + w, n) : load(rows[i] + w);
        if constexpr (!kPart) prefetch(rows[i] + w + kPrefetchWords);
    }
    count_rows<N>(x, plane);
    const auto [winner, voted] = decide(
        kTie, N, [&](int p) { return plane[p]; }, kPlanes, [&] { return kPart ? load_part(random, n) : load(random); });
    kPart ? store_part(target.out + w, winner, n) : target.put(w, winner);
    if constexpr (kTie == Tie::kAbstain) kPart ? store_part(target.mask + w, voted, n) : store(target.mask + w, voted);
}

template <int N, Tie kTie> static void vote_direct(const VoteJob& job, size_t begin, size_t end) {
    const Word* rows[N];
    for (int i = 0; i < N; ++i) rows[i] = job.dots[i].words;
    constexpr bool kDraws = kTie == Tie::kRandom && N % 2 == 0;
    constexpr size_t kChunk = kDraws ? 64 : ~size_t{0} >> 1;
    alignas(64) Word random[kDraws ? 64 : 1];
    const Target target(job);
    // The last word of a vote may have padding, so it is stored in part.
    const size_t whole = job.d / kWordBits < end ? job.d / kWordBits : end;
    const auto vote_chunk = [&](size_t first, size_t stop) {
        if constexpr (kDraws) random_words(job.random, random, job.first_word + first, job.first_word + stop);
        size_t w = first;
        for (; w + kVecWords <= stop && w + kVecWords <= whole; w += kVecWords)
            vote_vector<N, kTie, false>(rows, target, w, kVecWords, random + (kDraws ? w - first : 0));
        for (; w < stop; w += kVecWords) {
            const size_t n = stop - w < kVecWords ? stop - w : kVecWords;
            vote_vector<N, kTie, true>(rows, target, w, n, random + (kDraws ? w - first : 0));
        }
    };
    const size_t first = target.aligned(begin, end);
    if (first > begin) vote_chunk(begin, first);
    for (size_t chunk = first; chunk < end; chunk += kChunk)
        vote_chunk(chunk, end - chunk > kChunk ? chunk + kChunk : end);
}

using DirectVote = void (*)(const VoteJob&, size_t, size_t);
template <Tie kTie> constexpr auto kVoteDirect =
    table_of<DirectVote, kDirectRows>([]<int N>() { return vote_direct<N, kTie>; });

template <int N> static inline void count_line_of(const Word* const* rows, size_t w, size_t n, Word* counter) {
    for (size_t v = 0; v < n; v += kVecWords) {
        Vec x[N], plane[bit_length(N)];
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) x[i] = load_some(rows[i] + w + v, words_of_vector(n, v));
        count_rows<N>(x, plane);
        for (int p = 0; p < bit_length(N); ++p) store(counter + p * kLineWords + v, plane[p]);
    }
}

// Vote on more rows than registers, or count differences too: counters of one line per plane stay in the nearest cache.
// N is the number of rows, or 0.
template <int N> static void vote_by_line(const VoteJob& job, size_t begin, size_t end) {
    constexpr size_t kDrawn = 64;
    const size_t num_rows = N > 0 ? N : job.num_dots;
    const Word* rows[kMaxByLine];
    for (size_t i = 0; i < num_rows; ++i) rows[i] = job.dots[i].words;
    const int planes = bit_length(num_rows);
    const Tie tie = job.tie;
    const bool draws = tie == Tie::kRandom && num_rows % 2 == 0;
    alignas(64) Word counter[bit_length(kMaxByLine) * kLineWords], random[kDrawn];
    Differences<(N > 0 ? N : kMaxByLine)> differences(num_rows);
    const Target target(job);
    const size_t whole = job.d / kWordBits < end ? job.d / kWordBits : end;
    const auto vote_vector_of_line = [&](size_t w, size_t v, size_t n, const Word* drawn) {
        auto [winner, voted] =
            decide(tie, num_rows, planes_at(counter + v, kLineWords), planes, [&] { return load(drawn + v); });
        w += v;
        n == kVecWords ? target.put(w, winner) : store_part(target.out + w, winner, n);
        if (tie == Tie::kAbstain) store_part(target.mask + w, voted, n);
        if (!job.differences) return;
        if (n < kVecWords || w + n > whole) {
            Word bits[kVecWords] = {};
            for (size_t i = 0; i < n; ++i) bits[i] = valid_bits(job.d, w + i);
            voted = bit_and(voted, load(bits));
        }
        for (size_t i = 0; i < num_rows; ++i)
            differences.bytes[i] =
                add_byte_counts(differences.bytes[i], bit_and(bit_xor(load_some(rows[i] + w, n), winner), voted));
        differences.counted(job.differences);
    };
    const auto vote_chunk = [&](size_t first, size_t stop) {
        if (draws) random_words(job.random, random, job.first_word + first, job.first_word + stop);
        for (size_t w = first; w < stop; w += kLineWords) {
            const size_t n = stop - w < kLineWords ? stop - w : kLineWords;
            for (size_t i = 0; i < num_rows; ++i) prefetch(rows[i] + w + kPrefetchWords);
            if constexpr (N > 0) count_line_of<N>(rows, w, n, counter);
            else count_line(rows, num_rows, w, n, counter, planes);
            for (size_t v = 0; v < n; v += kVecWords)
                vote_vector_of_line(w, v, words_of_vector(n, v), random + (w - first));
        }
    };
    const size_t first = target.aligned(begin, end);
    if (first > begin) vote_chunk(begin, first);
    for (size_t chunk = first; chunk < end; chunk += kDrawn)
        vote_chunk(chunk, end - chunk > kDrawn ? chunk + kDrawn : end);
    if (job.differences) differences.flush(job.differences);
}

using VoteByLine = void (*)(const VoteJob&, size_t, size_t);
constexpr auto kVoteByLine = table_of<VoteByLine, kMaxUnrolled>([]<int N>() { return vote_by_line<N>; });
