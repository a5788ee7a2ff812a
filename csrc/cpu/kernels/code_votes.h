// Votes over a code, one line of words at a time: every message is counted while the partitions' words lie in the
// nearest cache, and the vote over the messages follows at once. Included inside the namespace of its instruction set.

// `messages` majorities of N rows each, counted in registers.
template <int N, bool kTiesPlus, bool kPart>
static void count_alone(const Word* const* rows, std::size_t messages, std::size_t w, std::size_t n, Word* out, std::size_t stride) {
    constexpr int kPlanes = bit_length(N);
    for (std::size_t m = 0; m < messages; ++m, rows += N, out += stride) {
        for (std::size_t v = 0; v < (kPart ? n : kLineWords); v += kVecWords) {
            Vec x[N], plane[kPlanes];
#pragma GCC unroll 16
            for (int i = 0; i < N; ++i) x[i] = kPart ? load_some(rows[i] + w + v, words_of_vector(n, v)) : load(rows[i] + w + v);
            count_rows<N>(x, plane);
            store(out + v, exceeds<kPlanes, N % 2 || !kTiesPlus ? N / 2 : N / 2 - 1>(plane));
        }
    }
}

using CountAlone = void (*)(const Word* const*, std::size_t, std::size_t, std::size_t, Word*, std::size_t);
template <bool kTiesPlus, bool kPart>
static CountAlone alone_counter(std::size_t rows) {
    static constexpr CountAlone table[kDirectRows + 1] = {
        nullptr,
        count_alone<1, true, kPart>, count_alone<2, kTiesPlus, kPart>, count_alone<3, true, kPart>, count_alone<4, kTiesPlus, kPart>,
        count_alone<5, true, kPart>, count_alone<6, kTiesPlus, kPart>, count_alone<7, true, kPart>, count_alone<8, kTiesPlus, kPart>,
        count_alone<9, true, kPart>, count_alone<10, kTiesPlus, kPart>, count_alone<11, true, kPart>, count_alone<12, kTiesPlus, kPart>,
        count_alone<13, true, kPart>, count_alone<14, kTiesPlus, kPart>, count_alone<15, true, kPart>, count_alone<16, kTiesPlus, kPart>,
    };
    return table[rows];
}

// Messages that differ by few rows, each counted on from the one before; the counters stay in registers.
template <int P>
struct Counter {
    Vec plane[P];

    // Adds -1, 0 or 1 in two's complement: `odd` is the lowest bit, `negative` all others.
    [[gnu::always_inline]] inline void add(Vec odd, Vec negative) {
        Vec carry = bit_and(plane[0], odd);
        plane[0] = bit_xor(plane[0], odd);
#pragma GCC unroll 16
        for (int p = 1; p < P; ++p) {
            const Vec old = plane[p];
            plane[p] = xor3(old, negative, carry);
            carry = majority3(old, negative, carry);
        }
    }
    [[gnu::always_inline]] inline Vec exceeds(std::uint64_t limit) const {
        Vec result = broadcast(0);
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) result = (limit >> p) & 1 ? bit_and(result, plane[p]) : bit_or(result, plane[p]);
        return result;
    }
};

template <int P>
static void count_chain(const CodedRun& run, bool ties_plus, std::size_t w, std::size_t n, Word* out, std::size_t stride) {
    alignas(64) Word first[P * kLineWords];
    count_line(run.rows, run.size, w, n, first, P);
    for (std::size_t v = 0; v < n; v += kVecWords) {
        const std::size_t words = words_of_vector(n, v);
        const auto row = [&](const Word* from) { return load_some(from + w + v, words); };
        Counter<P> counter;
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) counter.plane[p] = load(first + p * kLineWords + v);
        const Word* const* rows = run.rows + run.size;
        std::size_t size = run.size;
        Word* to = out + v;
        for (const CodedLink *link = run.links, *const end = link + run.messages - 1;; ++link, to += stride) {
            store(to, counter.exceeds(majority_limit(size, ties_plus)));
            if (link == end) break;
            const Word *const *added = rows, *const *removed = rows + link->added;
            rows = removed + link->removed;
            const std::size_t both = link->added < link->removed ? link->added : link->removed;
            for (std::size_t i = 0; i < both; ++i) {
                const Vec a = row(added[i]), r = row(removed[i]);
                counter.add(bit_xor(a, r), and_not(r, a));
            }
            for (std::size_t i = both; i < link->added; ++i) counter.add(row(added[i]), broadcast(0));
            for (std::size_t i = both; i < link->removed; ++i) {
                const Vec r = row(removed[i]);
                counter.add(r, r);
            }
            size += link->added;
            size -= link->removed;
        }
    }
}

using CountChain = void (*)(const CodedRun&, bool, std::size_t, std::size_t, Word*, std::size_t);
static constexpr CountChain kCountChain[kMaxChainPlanes + 1] = {
    nullptr,        count_chain<1>, count_chain<2>, count_chain<3>, count_chain<4>,  count_chain<5>,  count_chain<6>,
    count_chain<7>, count_chain<8>, count_chain<9>, count_chain<10>, count_chain<11>, count_chain<12>,
};

template <bool kPart>
static void count_messages(const CodedJob& job, std::size_t w, std::size_t n, Word* message, std::size_t stride) {
    for (std::size_t r = 0; r < job.num_runs; ++r) {
        const CodedRun& run = job.runs[r];
        if (run.planes > 0) {
            kCountChain[run.planes](run, job.ties_plus, w, n, message, stride);
        } else {
            (job.ties_plus ? alone_counter<true, kPart>(run.size) : alone_counter<false, kPart>(run.size))(run.rows, run.messages, w, n, message, stride);
        }
        message += run.messages * stride;
    }
}

static inline void count_and_prefetch(const CodedJob& job, std::size_t w, std::size_t n, Word* message, std::size_t stride) {
    for (std::size_t i = 0; i < job.num_used; ++i) prefetch(job.used[i] + w + kPrefetchWords);
    n == kLineWords ? count_messages<false>(job, w, n, message, stride) : count_messages<true>(job, w, n, message, stride);
}

// Messages are stored a block at a time: single stores to as many streams as there are workers would be slow.
static void store_messages(const CodedJob& job, Word* message, std::size_t begin, std::size_t end) {
    const std::size_t size = message_block(job.num_messages), stride = message_stride(job.num_messages);
    for (std::size_t block = begin; block < end; block += size) {
        const std::size_t words = end - block < size ? end - block : size;
        for (std::size_t w = 0; w < words; w += kLineWords)
            count_and_prefetch(job, block + w, words - w < kLineWords ? words - w : kLineWords, message + w, stride);
        for (std::size_t i = 0; i < job.num_outputs; ++i) {
            const CodedOutput& output = job.outputs[i];
            const Word* from = message + output.message * stride;
            job.streams ? copy_streaming(from, output.out + block, words) : copy_words(from, output.out + block, 0, words);
        }
    }
    if (job.streams) stream_fence();
}

// Messages of one line live in the scratch, and the vote over them follows at once.
static void vote_on_messages(const CodedJob& job, Word* message, std::size_t begin, std::size_t end) {
    const Word** const voters = reinterpret_cast<const Word**>(message + job.num_messages * kLineWords);
    for (std::size_t i = 0; i < job.num_voters; ++i) voters[i] = message + job.voters[i] * kLineWords;
    const int planes = bit_length(job.num_voters);
    const std::uint64_t more = majority_limit(job.num_voters, false), half = majority_limit(job.num_voters, true);
    const bool draws = job.tie == Tie::kRandom && half < more;
    const CountAlone count = draws || job.tie == Tie::kAbstain || job.num_voters > kDirectRows ? nullptr
                             : job.tie == Tie::kPlus ? alone_counter<true, false>(job.num_voters)
                                                     : alone_counter<false, false>(job.num_voters);
    constexpr std::size_t kDrawn = 64;
    alignas(64) Word counter[kMaxChainPlanes * kLineWords], out[kLineWords], voted[kLineWords], random[kDrawn];
    for (std::size_t w = begin; w < end; w += kLineWords) {
        const std::size_t n = end - w < kLineWords ? end - w : kLineWords, drawn = (w - begin) % kDrawn;
        if (draws && drawn == 0) random_words(job.random, random, w, end - w < kDrawn ? end : w + kDrawn);
        count_and_prefetch(job, w, n, message, kLineWords);
        if (count) {
            count(voters, 1, 0, kLineWords, out, kLineWords);
        } else {
            count_line(voters, job.num_voters, 0, kLineWords, counter, planes);
            for (std::size_t v = 0; v < kLineWords; v += kVecWords) {
                const Vec wins = counter_exceeds(counter + v, kLineWords, planes, job.tie == Tie::kPlus ? half : more);
                const Vec ties = counter_exceeds(counter + v, kLineWords, planes, half);
                store(out + v, draws ? bit_or(wins, bit_and(ties, load(random + drawn + v))) : wins);
                store(voted + v, or_not(wins, ties));
            }
        }
        copy_words(out, job.out + w, 0, n);
        if (job.tie == Tie::kAbstain) copy_words(voted, job.out_mask + w, 0, n);
    }
    if (end == (job.d + kWordBits - 1) / kWordBits && job.d % kWordBits && job.tie == Tie::kAbstain)  // padding bits stay zero
        job.out_mask[end - 1] &= (Word{1} << (job.d % kWordBits)) - 1;
}

static void coded(const CodedJob& job, Word* scratch, std::size_t begin, std::size_t end) {
    job.num_voters > 0 ? vote_on_messages(job, scratch, begin, end) : store_messages(job, scratch, begin, end);
}
