// The majority of voters, or of counters, at every coordinate: one word a thread, counted in registers.
//
// A thread reads up to 16 rows at once, so that memory has enough to do, and adds them to a bit-sliced counter. Weights
// are counted from their highest bit down: the counter is doubled, and the rows with that bit are added.
#include "counters.h"
#include "runtime.h"

namespace electioncode::cuda {

namespace {

struct Outcome {
    std::uint64_t maximum;
    Tie tie;
    RandomStream random;
    std::size_t d;
    Word* out;
    Word* out_mask;
};

template <int kPlanes>
EC_DEVICE void store_outcome(const Counter<kPlanes>& counter, const Outcome& outcome, std::size_t w) {
    const Verdict verdict = decide(counter, outcome.maximum, outcome.tie, outcome.random, w, valid_bits(outcome.d, w));
    outcome.out[w] = verdict.winner;
    if (outcome.out_mask) outcome.out_mask[w] = verdict.voted;
}

struct Row {
    const Word* words;
};

struct PlainArgs {
    Outcome outcome;
    int count;
    Table<Row, 460> rows;
};

// Voters of weight 1 without masks. kGroup rows at a time, all at once where kRows of them are the most.
template <int kPlanes, int kRows>
struct Plain {
    static constexpr int kThreads = 256;
    using Args = PlainArgs;

    static EC_DEVICE void run(const Args& args, Thread t) {
        const std::size_t w = t.index;
        if (w >= words_of(args.outcome.d)) return;
        Counter<kPlanes> counter;
        counter.clear();
        constexpr bool kOnce = (1 << kPlanes) - 1 == kRows;
        for (int first = 0; first < (kOnce ? 1 : args.count); first += kRows) {
            Word x[kRows];
            EC_UNROLL
            for (int i = 0; i < kRows; ++i) x[i] = first + i < args.count ? load_once(args.rows[static_cast<std::size_t>(first + i)].words + w) : 0;
            counter.template add<kRows>(x);
        }
        store_outcome(counter, args.outcome, w);
    }
};

// A voter with a mask gives two bits, its vote and "not a vote against", so that abstaining is half-way.
struct Ballot {
    const Word* words;  // nullptr: nobody, to fill up a group
    const Word* mask;
    std::uint32_t plane;
    std::uint32_t negative;
};
constexpr int kVoters = kGroup / 2;  // of a group, which has one plane

struct BallotArgs {
    Outcome outcome;
    int count;
    Table<Ballot, 160> ballots;  // whole groups, of falling planes
};

template <int kPlanes>
struct Ballots {
    static constexpr int kThreads = 256;
    using Args = BallotArgs;

    static EC_DEVICE void run(const Args& args, Thread t) {
        const std::size_t w = t.index;
        if (w >= words_of(args.outcome.d)) return;
        Counter<kPlanes> counter;
        counter.clear();
        std::uint32_t plane = 0;
        for (int first = 0; first < args.count; first += kVoters) {
            Ballot ballots[kVoters];
            Word rows[kVoters], masks[kVoters], x[2 * kVoters];
            EC_UNROLL
            for (int i = 0; i < kVoters; ++i) {
                ballots[i] = args.ballots[static_cast<std::size_t>(first + i)];
                rows[i] = ballots[i].words ? load_once(ballots[i].words + w) : 0;
                masks[i] = ballots[i].mask ? load_once(ballots[i].mask + w) : 0;
            }
            for (; plane > ballots[0].plane; --plane) counter.twice();
            plane = ballots[0].plane;
            EC_UNROLL
            for (int i = 0; i < kVoters; ++i) {
                const Word flip = ballots[i].negative ? ~Word{0} : 0;
                x[2 * i] = rows[i] ^ flip;
                x[2 * i + 1] = !ballots[i].mask ? 0 : flip ? masks[i] & ~rows[i] : rows[i] | ~masks[i];
            }
            counter.template add<2 * kVoters>(x);
        }
        for (; plane > 0; --plane) counter.twice();
        store_outcome(counter, args.outcome, w);
    }
};

Outcome outcome_of(const Decision& decision, std::uint64_t maximum) {
    return {maximum, decision.tie, decision.random, decision.d, decision.out, decision.out_mask};
}

template <int kPlanes, int kRows>
void launch_plain(const PlainArgs& args, const Queue& queue) {
    launch_threads<Plain<kPlanes, kRows>>(args, words_of(args.outcome.d), queue);
}

void count_plain(const std::vector<Row>& rows, const Decision& decision, const Queue& queue) {
    PlainArgs args;
    args.outcome = outcome_of(decision, rows.size());
    args.count = static_cast<int>(rows.size());
    fill(args.rows, rows, queue);
    if (rows.size() <= 3) return launch_plain<2, 3>(args, queue);
    if (rows.size() <= 7) return launch_plain<3, 7>(args, queue);
    if (rows.size() <= 15) return launch_plain<4, 15>(args, queue);
    if (rows.size() <= 63) return launch_plain<6, kGroup>(args, queue);
    if (rows.size() <= 1023) return launch_plain<10, kGroup>(args, queue);
    launch_plain<20, kGroup>(args, queue);
}

void count_ballots(const std::vector<Ballot>& given, const Decision& decision, std::uint64_t maximum, const Queue& queue) {
    std::vector<Ballot> ballots;
    for (std::uint32_t plane = 64; plane-- > 0;) {
        for (const Ballot& b : given)
            if (b.plane == plane) ballots.push_back(b);
        while (ballots.size() % kVoters) ballots.push_back({nullptr, nullptr, plane, 0});
    }
    BallotArgs args;
    args.outcome = outcome_of(decision, maximum);
    args.count = static_cast<int>(ballots.size());
    fill(args.ballots, ballots, queue);
    const std::size_t words = words_of(decision.d);
    const int planes = bit_length(maximum);
    if (planes <= 6) return launch_threads<Ballots<6>>(args, words, queue);
    if (planes <= 14) return launch_threads<Ballots<14>>(args, words, queue);
    launch_threads<Ballots<42>>(args, words, queue);
}

}  // namespace

void majority(const std::vector<Voter>& voters, const Decision& decision, const Queue& queue) {
    const bool masked = std::any_of(voters.begin(), voters.end(), [](const Voter& v) { return v.mask != nullptr; });
    const bool equal = std::all_of(voters.begin(), voters.end(), [](const Voter& v) { return v.weight == 1; });
    if (!masked && equal) {
        std::vector<Row> rows;
        for (const Voter& v : voters) rows.push_back({v.words});
        return count_plain(rows, decision, queue);
    }
    // With masks a voter counts twice: weight * (1 + sign), 0 to 2 * weight.
    std::vector<Ballot> ballots;
    std::uint64_t maximum = 0;
    for (const Voter& v : voters) {
        const std::uint64_t weight = static_cast<std::uint64_t>(v.weight < 0 ? -v.weight : v.weight);
        maximum += (masked ? 2 : 1) * weight;
        for (std::uint32_t bit = 0; weight >> bit; ++bit)
            if ((weight >> bit) & 1) ballots.push_back({v.words, v.mask, bit + (masked && !v.mask ? 1 : 0), v.weight < 0});
    }
    count_ballots(ballots, decision, maximum, queue);
}

void majority_of_counters(const std::vector<Dot>& dots, std::uint64_t maximum, const Decision& decision, const Queue& queue) {
    std::vector<Ballot> ballots;
    for (const Dot& dot : dots) ballots.push_back({dot.words, nullptr, static_cast<std::uint32_t>(dot.plane), 0});
    count_ballots(ballots, decision, maximum, queue);
}

}  // namespace electioncode::cuda
