// Carry-save adders: rows of bits become counters, one bit of the counter per plane, and counters become votes.

constexpr int kGroup = kGroupRows;

static inline Vec load_some(const Word* p, size_t n) { return n == kVecWords ? load(p) : load_part(p, n); }

// Functions of a number of rows that the compiler knows, by that number: of[1] to of[kMost].
template <typename Function, int kMost> struct Functions {
    Function of[kMost + 1];
};
template <typename Function, int kMost, typename Get, int... N>
constexpr Functions<Function, kMost> list_functions(Get get, std::integer_sequence<int, N...>) {
    return {{nullptr, get.template operator()<N + 1>()...}};
}
template <typename Function, int kMost, typename Get> constexpr Functions<Function, kMost> table_of(Get get) {
    return list_functions<Function, kMost>(get, std::make_integer_sequence<int, kMost>{});
}

// Count N bits per lane into bit_length(N) planes; x is used up.
template <int N> [[gnu::always_inline]] static inline void count_rows(Vec* x, Vec* plane) {
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
template <typename Plane> [[gnu::always_inline]] static inline Vec exceeds(Plane plane, int planes, uint64_t limit) {
    Vec result = broadcast(0);
#pragma GCC unroll 16
    for (int p = 0; p < planes; ++p) result = (limit >> p) & 1 ? bit_and(result, plane(p)) : bit_or(result, plane(p));
    return result;
}

struct Verdict {
    Vec winner, voted;
};

// Decide by counts of up to `maximum`, of which plane(p) gives bit p; draw() gives random bits for ties.
template <typename Plane, typename Draw>
[[gnu::always_inline]] static inline Verdict decide(Tie tie, uint64_t maximum, Plane plane, int planes, Draw draw) {
    const uint64_t more = majority_limit(maximum, false), half = majority_limit(maximum, true);
    Verdict verdict{exceeds(plane, planes, tie == Tie::kPlus ? half : more), broadcast(~Word{0})};
    if (tie == Tie::kRandom && half < more)
        verdict.winner = bit_or(verdict.winner, bit_and(exceeds(plane, planes, half), draw()));
    if (tie == Tie::kAbstain) verdict.voted = or_not(verdict.winner, exceeds(plane, planes, half));
    return verdict;
}

// Add one column of the adder tree: N bits of weight 2^plane join the counter's plane, its carries go one plane up.
template <int N>
[[gnu::always_inline]] static inline void add_column(Vec* x, Word* counter, size_t stride, int planes) {
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

// Return how to load a vector of plane p of a counter in memory.
static inline auto planes_at(const Word* counter, size_t stride) {
    return [=](int p) { return load(counter + static_cast<size_t>(p) * stride); };
}

// Return how many of a line's n words the vector at v takes.
static inline size_t words_of_vector(size_t n, size_t v) { return n - v < kVecWords ? n - v : kVecWords; }

template <int N> static void add_some(const Word* const* rows, size_t w, size_t n, Word* counter, int planes) {
    for (size_t v = 0; v < n; v += kVecWords) {
        Vec x[N];
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) x[i] = load_some(rows[i] + w + v, words_of_vector(n, v));
        add_column<N>(x, counter + v, kLineWords, planes);
    }
}

using AddSome = void (*)(const Word* const*, size_t, size_t, Word*, int);
constexpr auto kAddSome = table_of<AddSome, kGroup>([]<int N>() { return add_some<N>; });

// Count one line of any number of rows into a counter of one line per plane.
static void count_line(const Word* const* rows, size_t num_rows, size_t w, size_t n, Word* counter, int planes) {
    std::memset(counter, 0, static_cast<size_t>(planes) * kLineWords * sizeof(Word));
    for (size_t i = 0; i < num_rows; i += kGroup) {
        const size_t left = num_rows - i;
        kAddSome.of[left < kGroup ? left : kGroup](rows + i, w, n, counter, planes);
    }
}
