// Votes over a code, one line of words at a time: every message is counted while the partitions' words lie in the
// nearest cache, and the vote over the messages follows at once.

// Count `messages` majorities of N rows each in registers.
template <int N, bool kTiesPlus, bool kPart>
static void count_alone(const Word* const* rows, size_t messages, size_t w, size_t n, Word* out, size_t stride) {
    constexpr int kPlanes = bit_length(N);
    for (size_t m = 0; m < messages; ++m, rows += N, out += stride) {
        for (size_t v = 0; v < (kPart ? n : kLineWords); v += kVecWords) {
            Vec x[N], plane[kPlanes];
#pragma GCC unroll 16
            for (int i = 0; i < N; ++i)
                x[i] = kPart ? load_some(rows[i] + w + v, words_of_vector(n, v)) : load(rows[i] + w + v);
            count_rows<N>(x, plane);
            store(out + v, exceeds([&](int p) { return plane[p]; }, kPlanes, majority_limit(N, kTiesPlus)));
        }
    }
}

using CountAlone = void (*)(const Word* const*, size_t, size_t, size_t, Word*, size_t);
template <bool kTiesPlus, bool kPart> constexpr auto kCountAlone = table_of<CountAlone, kDirectRows>([]<int N>() {
    constexpr bool kPlus = kTiesPlus || N % 2 == 1;  // an odd number has no ties
    return count_alone<N, kPlus, kPart>;
});
template <bool kPart> static CountAlone alone_counter(bool ties_plus, size_t rows) {
    return (ties_plus ? kCountAlone<true, kPart> : kCountAlone<false, kPart>).of[rows];
}

// Counters in registers, for messages that differ by few rows and are each counted on from the one before.
template <int P> struct Counter {
    Vec plane[P];

    // Add -1, 0 or 1 in two's complement: `odd` is the lowest bit, `negative` all others.
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
};

template <int P>
static void count_chain(const CodedRun& run, bool ties_plus, size_t w, size_t n, Word* out, size_t stride) {
    alignas(64) Word first[P * kLineWords];
    count_line(run.rows, run.size, w, n, first, P);
    for (size_t v = 0; v < n; v += kVecWords) {
        const size_t words = words_of_vector(n, v);
        const auto row = [&](const Word* from) { return load_some(from + w + v, words); };
        Counter<P> counter;
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) counter.plane[p] = load(first + p * kLineWords + v);
        const Word* const* rows = run.rows + run.size;
        size_t size = run.size;
        Word* to = out + v;
        for (const CodedLink *link = run.links, *const end = link + run.messages - 1;; ++link, to += stride) {
            store(to, exceeds([&](int p) { return counter.plane[p]; }, P, majority_limit(size, ties_plus)));
            if (link == end) break;
            const Word *const *added = rows, *const *removed = rows + link->added;
            rows = removed + link->removed;
            const size_t both = link->added < link->removed ? link->added : link->removed;
            for (size_t i = 0; i < both; ++i) {
                const Vec a = row(added[i]), r = row(removed[i]);
                counter.add(bit_xor(a, r), and_not(r, a));
            }
            for (size_t i = both; i < link->added; ++i) counter.add(row(added[i]), broadcast(0));
            for (size_t i = both; i < link->removed; ++i) {
                const Vec r = row(removed[i]);
                counter.add(r, r);
            }
            size += link->added;
            size -= link->removed;
        }
    }
}

using CountChain = void (*)(const CodedRun&, bool, size_t, size_t, Word*, size_t);
constexpr auto kCountChain = table_of<CountChain, kMaxChainPlanes>([]<int N>() { return count_chain<N>; });

template <bool kPart>
static void count_messages(const CodedJob& job, size_t w, size_t n, Word* message, size_t stride) {
    for (size_t r = 0; r < job.num_runs; ++r) {
        const CodedRun& run = job.runs[r];
        if (run.planes > 0) kCountChain.of[run.planes](run, job.ties_plus, w, n, message, stride);
        else alone_counter<kPart>(job.ties_plus, run.size)(run.rows, run.messages, w, n, message, stride);
        message += run.messages * stride;
    }
}

static inline void count_and_prefetch(const CodedJob& job, size_t w, size_t n, Word* message, size_t stride) {
    for (size_t i = 0; i < job.num_used; ++i) prefetch(job.used[i] + w + kPrefetchWords);
    n == kLineWords ? count_messages<false>(job, w, n, message, stride)
                    : count_messages<true>(job, w, n, message, stride);
}

// Store the messages, a block at a time: single stores to as many streams as there are workers would be slow.
static void store_messages(const CodedJob& job, Word* message, size_t begin, size_t end) {
    const size_t size = message_block(job.num_messages), stride = message_stride(job.num_messages);
    for (size_t block = begin; block < end; block += size) {
        const size_t words = end - block < size ? end - block : size;
        for (size_t w = 0; w < words; w += kLineWords)
            count_and_prefetch(job, block + w, words - w < kLineWords ? words - w : kLineWords, message + w, stride);
        for (size_t i = 0; i < job.num_outputs; ++i) {
            const CodedOutput& output = job.outputs[i];
            const Word* from = message + output.message * stride;
            job.streams ? copy_streaming(from, output.out + block, words)
                        : copy_words(from, output.out + block, 0, words);
        }
    }
    if (job.streams) stream_fence();
}

// Vote over the messages, of which one line at a time lives in the scratch.
static void vote_on_messages(const CodedJob& job, Word* message, size_t begin, size_t end) {
    const Word** const voters = reinterpret_cast<const Word**>(message + job.num_messages * kLineWords);
    for (size_t i = 0; i < job.num_voters; ++i) voters[i] = message + job.voters[i] * kLineWords;
    const int planes = bit_length(job.num_voters);
    const Tie tie = job.tie;
    const bool draws = tie == Tie::kRandom && job.num_voters % 2 == 0, abstains = tie == Tie::kAbstain;
    const CountAlone count = draws || abstains || job.num_voters > kDirectRows
                                 ? nullptr
                                 : alone_counter<false>(tie == Tie::kPlus, job.num_voters);
    constexpr size_t kDrawn = 64;
    alignas(64) Word counter[kMaxChainPlanes * kLineWords], out[kLineWords], voted[kLineWords], random[kDrawn];
    for (size_t w = begin; w < end; w += kLineWords) {
        const size_t n = end - w < kLineWords ? end - w : kLineWords, drawn = (w - begin) % kDrawn;
        if (draws && drawn == 0) random_words(job.random, random, w, end - w < kDrawn ? end : w + kDrawn);
        count_and_prefetch(job, w, n, message, kLineWords);
        if (count) {
            count(voters, 1, 0, kLineWords, out, kLineWords);
        } else {
            count_line(voters, job.num_voters, 0, kLineWords, counter, planes);
            for (size_t v = 0; v < kLineWords; v += kVecWords) {
                const Verdict verdict = decide(tie, job.num_voters, planes_at(counter + v, kLineWords), planes,
                                               [&] { return load(random + drawn + v); });
                store(out + v, verdict.winner);
                store(voted + v, verdict.voted);
            }
        }
        copy_words(out, job.out + w, 0, n);
        if (abstains) copy_words(voted, job.out_mask + w, 0, n);
    }
    if (abstains && begin < end) job.out_mask[end - 1] &= valid_bits(job.d, end - 1);  // padding bits stay zero
}

static void code_votes(const CodedJob& job, Word* scratch, size_t begin, size_t end) {
    job.num_voters > 0 ? vote_on_messages(job, scratch, begin, end) : store_messages(job, scratch, begin, end);
}
