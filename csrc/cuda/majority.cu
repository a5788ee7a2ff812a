// The majority of voters, or of counters, at every coordinate: one word per thread, counted in registers.
//
// A thread reads up to 16 rows at once, so that memory has enough to do, and adds them to a bit-sliced counter. Weights
// are counted from their highest bit down: the counter is doubled, and the rows with that bit are added.
#include "../plan/voters.h"
#include "counters.h"
#include "runtime.h"

namespace electioncode::cuda {
namespace {

struct Outcome {
    Decision decision;
    uint64_t maximum;
};

template <int kPlanes> EC_DEVICE void store_outcome(const Counter<kPlanes>& counter, const Outcome& outcome, size_t w) {
    const Decision& to = outcome.decision;
    const Verdict verdict = decide(counter, outcome.maximum, to.tie, to.random, w, valid_bits(to.d, w));
    to.out[w] = verdict.winner;
    if (to.out_mask) to.out_mask[w] = verdict.voted;
}

struct Row {
    const Word* words;
};

struct PlainArgs {
    Outcome outcome;
    int count;
    Table<Row, 460> rows;
};

// Count voters of weight 1 without masks, kRows at a time; all at once where the planes hold no more.
template <int kPlanes, int kRows> struct Plain {
    static constexpr int kThreads = 256;
    using Args = PlainArgs;

    static EC_DEVICE void run(const Args& args, Thread t) {
        const size_t w = t.index;
        if (w >= num_words(args.outcome.decision.d)) return;
        Counter<kPlanes> counter;
        counter.clear();
        constexpr bool kOnce = (1 << kPlanes) - 1 == kRows;
        for (int first = 0; first < (kOnce ? 1 : args.count); first += kRows) {
            Word x[kRows];
            EC_UNROLL
            for (int i = 0; i < kRows; ++i)
                x[i] = first + i < args.count ? load_once(args.rows[static_cast<size_t>(first + i)].words + w) : 0;
            counter.template add<kRows>(x);
        }
        store_outcome(counter, args.outcome, w);
    }
};

// A voter, or one bit of its weight; with a mask it puts in two bits, its vote and "not a vote against".
struct MaskedVoter {
    const Word* words;  // nullptr: fills up a group
    const Word* mask;
    uint32_t plane;
    uint32_t negative;
};
constexpr int kVoters = kGroup / 2;  // of a group, which has one plane

struct MaskedArgs {
    Outcome outcome;
    int count;
    Table<MaskedVoter, 160> voters;  // whole groups, by falling plane
};

template <int kPlanes> struct MaskedVote {
    static constexpr int kThreads = 256;
    using Args = MaskedArgs;

    static EC_DEVICE void run(const Args& args, Thread t) {
        const size_t w = t.index;
        if (w >= num_words(args.outcome.decision.d)) return;
        Counter<kPlanes> counter;
        counter.clear();
        uint32_t plane = 0;
        for (int first = 0; first < args.count; first += kVoters) {
            MaskedVoter voters[kVoters];
            Word rows[kVoters], masks[kVoters], x[2 * kVoters];
            EC_UNROLL
            for (int i = 0; i < kVoters; ++i) {
                voters[i] = args.voters[static_cast<size_t>(first + i)];
                rows[i] = voters[i].words ? load_once(voters[i].words + w) : 0;
                masks[i] = voters[i].mask ? load_once(voters[i].mask + w) : 0;
            }
            for (; plane > voters[0].plane; --plane) counter.twice();
            plane = voters[0].plane;
            EC_UNROLL
            for (int i = 0; i < kVoters; ++i) {
                const Word flip = voters[i].negative ? ~Word{0} : 0;
                x[2 * i] = rows[i] ^ flip;
                x[2 * i + 1] = !voters[i].mask ? 0 : flip ? masks[i] & ~rows[i] : rows[i] | ~masks[i];
            }
            counter.template add<2 * kVoters>(x);
        }
        for (; plane > 0; --plane) counter.twice();
        store_outcome(counter, args.outcome, w);
    }
};

void count_plain(const std::vector<Row>& rows, const Decision& decision, const Queue& queue) {
    PlainArgs args;
    args.outcome = {decision, rows.size()};
    args.count = static_cast<int>(rows.size());
    fill(args.rows, rows, queue);
    const size_t words = num_words(decision.d);
    if (rows.size() <= 3) return launch_threads<Plain<2, 3>>(args, words, queue);
    if (rows.size() <= 7) return launch_threads<Plain<3, 7>>(args, words, queue);
    if (rows.size() <= 15) return launch_threads<Plain<4, 15>>(args, words, queue);
    if (rows.size() <= 63) return launch_threads<Plain<6, kGroup>>(args, words, queue);
    if (rows.size() <= 1023) return launch_threads<Plain<10, kGroup>>(args, words, queue);
    launch_threads<Plain<20, kGroup>>(args, words, queue);
}

// Count the dots of a plan, or of a tally's counters.
void count_dots(const std::vector<Dot>& dots, const Decision& decision, uint64_t maximum, const Queue& queue) {
    std::vector<MaskedVoter> voters;
    for (int plane = 64; plane-- > 0;) {
        const auto number = static_cast<uint32_t>(plane);
        for (size_t i = 0; i < dots.size(); i += dots[i].mask ? 2 : 1)  // a masked voter's dots are neighbours
            if (dots[i].plane == plane)
                voters.push_back({dots[i].words, dots[i].mask, number, dots[i].kind == DotKind::kNotRow});
        while (voters.size() % kVoters) voters.push_back({nullptr, nullptr, number, 0});
    }
    MaskedArgs args;
    args.outcome = {decision, maximum};
    args.count = static_cast<int>(voters.size());
    fill(args.voters, voters, queue);
    const size_t words = num_words(decision.d);
    const int planes = bit_length(maximum);
    if (planes <= 6) return launch_threads<MaskedVote<6>>(args, words, queue);
    if (planes <= 14) return launch_threads<MaskedVote<14>>(args, words, queue);
    launch_threads<MaskedVote<42>>(args, words, queue);
}

}  // namespace

void majority(const std::vector<Voter>& voters, const Decision& decision, const Queue& queue) {
    const Plan plan = plan_vote(voters);
    if (!plan.plain) return count_dots(plan.dots, decision, plan.maximum, queue);
    std::vector<Row> rows;
    for (const Dot& dot : plan.dots) rows.push_back({dot.words});
    count_plain(rows, decision, queue);
}

void majority_of_counters(const std::vector<Dot>& dots, uint64_t maximum, const Decision& decision,
                          const Queue& queue) {
    count_dots(dots, decision, maximum, queue);
}

}  // namespace electioncode::cuda
