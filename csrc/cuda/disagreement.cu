// Count how often each voter differs from the winner, one stretch of a voter's row per warp.
#include "runtime.h"

namespace electioncode::cuda {
namespace {

constexpr size_t kStretch = 16 * kWarp;  // words

struct Row {
    const Word* words;
    const Word* mask;
};

struct CountArgs {
    const Word* winner;
    const Word* winner_mask;
    size_t d;
    size_t stretches;  // of a row
    size_t count;
    int64_t* counts;
    Table<Row, 240> rows;
};

struct Count {
    static constexpr int kThreads = 256;
    using Args = CountArgs;

    static EC_DEVICE void run(const Args& args, const Warp& warp) {
        const size_t voter = warp.index / args.stretches;
        if (voter >= args.count) return;  // the whole warp
        const Row row = args.rows[voter];
        const size_t first = (warp.index % args.stretches) * kStretch, total = num_words(args.d);
        PerLane<uint32_t> ones;
        warp.each([&](int lane) {
            ones[lane] = 0;
            EC_UNROLL
            for (size_t i = 0; i < kStretch; i += kWarp) {
                const size_t w = first + i + static_cast<size_t>(lane);
                if (w >= total) continue;
                Word bits = (load_once(row.words + w) ^ args.winner[w]) & valid_bits(args.d, w);
                if (row.mask) bits &= load_once(row.mask + w);
                if (args.winner_mask) bits &= args.winner_mask[w];
                ones[lane] += static_cast<uint32_t>(count_ones(bits));
            }
        });
        const uint32_t sum = warp.sum(ones);
        warp.each([&](int lane) {
            if (lane == 0 && sum) add_atomically(args.counts + voter, sum);
        });
    }
};

}  // namespace

void disagreement(const std::vector<Voter>& voters, const Voter& winner, size_t d, int64_t* counts,
                  const Queue& queue) {
    std::vector<Row> rows;
    for (const Voter& v : voters) rows.push_back({v.words, v.mask});
    CountArgs args{};
    args.winner = winner.words, args.winner_mask = winner.mask, args.d = d;
    args.stretches = (num_words(d) + kStretch - 1) / kStretch;
    args.count = rows.size(), args.counts = counts;
    if (args.stretches == 0) return;
    fill(args.rows, rows, queue);
    launch_warps<Count>(args, args.count * args.stretches, queue);
}

}  // namespace electioncode::cuda
