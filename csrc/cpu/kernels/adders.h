// Carry-save adders: rows of bits become counters, one bit of the counter per plane, and counters become votes.
// Included inside the namespace of its instruction set.

constexpr int kGroup = kGroupRows;  // rows added to the counters at a time: 16 + the four low planes is all full adders

static inline Vec load_some(const Word* p, std::size_t n) { return n == kVecWords ? load(p) : load_part(p, n); }

constexpr int bit_length(std::uint64_t n) {
    int length = 0;
    for (; n; n >>= 1) ++length;
    return length;
}

// Counts N bits per lane into bit_length(N) planes; x is used up.
template <int N>
[[gnu::always_inline]] static inline void count_rows(Vec* x, Vec* plane) {
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
[[gnu::always_inline]] static inline Vec exceeds(const Vec* plane) {
    Vec result = broadcast(0);
#pragma GCC unroll 8
    for (int p = 0; p < kPlanes; ++p)
        result = (kLimit >> p) & 1 ? bit_and(result, plane[p]) : bit_or(result, plane[p]);
    return result;
}

// One column of the adder tree: N bits of weight 2^plane join the counter's plane; its carries go one plane up.
template <int N>
[[gnu::always_inline]] static inline void add_column(Vec* x, Word* counter, std::size_t stride, int planes) {
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

[[gnu::always_inline]] static inline Vec counter_exceeds(const Word* counter, std::size_t stride, int planes, std::uint64_t limit) {
    Vec result = broadcast(0);
    for (int p = 0; p < planes; ++p) {
        const Vec bits = load(counter + static_cast<std::size_t>(p) * stride);
        result = (limit >> p) & 1 ? bit_and(result, bits) : bit_or(result, bits);
    }
    return result;
}

// Of the n words of a line, how many the vector at v takes.
static inline std::size_t words_of_vector(std::size_t n, std::size_t v) { return n - v < kVecWords ? n - v : kVecWords; }

template <int N>
static void add_some(const Word* const* rows, std::size_t w, std::size_t n, Word* counter, int planes) {
    for (std::size_t v = 0; v < n; v += kVecWords) {
        Vec x[N];
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) x[i] = load_some(rows[i] + w + v, words_of_vector(n, v));
        add_column<N>(x, counter + v, kLineWords, planes);
    }
}

using AddSome = void (*)(const Word* const*, std::size_t, std::size_t, Word*, int);
static constexpr AddSome kAddSome[kGroup + 1] = {
    nullptr,      add_some<1>,  add_some<2>,  add_some<3>,  add_some<4>,  add_some<5>,  add_some<6>,  add_some<7>,  add_some<8>,
    add_some<9>,  add_some<10>, add_some<11>, add_some<12>, add_some<13>, add_some<14>, add_some<15>, add_some<16>,
};

// One line of any number of rows, into a counter of one line a plane.
static void count_line(const Word* const* rows, std::size_t num_rows, std::size_t w, std::size_t n, Word* counter, int planes) {
    std::memset(counter, 0, static_cast<std::size_t>(planes) * kLineWords * sizeof(Word));
    for (std::size_t i = 0; i < num_rows; i += kGroup) {
        const std::size_t left = num_rows - i;
        kAddSome[left < kGroup ? left : kGroup](rows + i, w, n, counter, planes);
    }
}

// What a count must exceed to win, where a tie wins and where it does not.
static std::uint64_t majority_limit(std::uint64_t maximum, bool tie_wins) { return tie_wins && maximum % 2 == 0 ? maximum / 2 - 1 : maximum / 2; }
