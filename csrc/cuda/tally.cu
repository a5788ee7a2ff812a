// Counters that live between launches: a vote joins them, and the score of each coordinate is read off them.
#include "formats.h"
#include "runtime.h"

namespace electioncode::cuda {
namespace {

constexpr int kMaxLevels = 42;

struct AddArgs {
    const Word* words;
    const Word* mask;
    DotKind kind;
    int levels;
    size_t d;
    Word* rest;
    Word* sum[kMaxLevels];
    const Word* pending[kMaxLevels];
};

// Per level sum <- sum ^ pending ^ carry, carry <- majority; the last carry goes to `rest`, which may be pending[0].
struct Add {
    static constexpr int kThreads = 256;
    using Args = AddArgs;

    static EC_DEVICE void run(const Args& args, Thread t) {
        const size_t w = t.index;
        if (w >= num_words(args.d)) return;
        const Word row = args.words[w], mask = args.mask ? args.mask[w] : ~Word{0};
        Word carry = row;
        if (args.kind == DotKind::kNotRow) carry = ~row;
        if (args.kind == DotKind::kRowOrNotMask) carry = row | ~mask;
        if (args.kind == DotKind::kMaskAndNotRow) carry = mask & ~row;
        carry &= valid_bits(args.d, w);
        for (int l = 0; l < args.levels; ++l) {
            const Word sum = args.sum[l][w], pending = args.pending[l][w];
            args.sum[l][w] = sum ^ pending ^ carry;
            carry = (sum & pending) | (carry & (sum ^ pending));
        }
        args.rest[w] = carry;
    }
};

struct Plane {
    const Word* words;
    size_t plane;
};

struct MarginArgs {
    size_t d;
    int32_t* out;
    int32_t offset;
    int count;
    Table<Plane, 120> planes;
};

// One word per warp, two coordinates per lane.
struct Margin {
    static constexpr int kThreads = 256;
    using Args = MarginArgs;

    static EC_DEVICE void run(const Args& args, Thread t) {
        const size_t w = t.index / kWarp;
        if (w >= num_words(args.d)) return;
        const int bit = 2 * (t.in_block % kWarp);
        Pair<uint32_t> score{0, 0};
        for (int i = 0; i < args.count; ++i) {
            const Plane plane = args.planes[static_cast<size_t>(i)];
            const Word bits = plane.words[w] >> bit;
            score.first += static_cast<uint32_t>(bits & 1) << plane.plane;
            score.second += static_cast<uint32_t>(bits >> 1 & 1) << plane.plane;
        }
        const uint32_t offset = static_cast<uint32_t>(args.offset);
        store_pair<false>(reinterpret_cast<uint32_t*>(args.out), w * kWordBits + static_cast<size_t>(bit), args.d,
                          Pair<uint32_t>{score.first - offset, score.second - offset});
    }
};

}  // namespace

void accumulate(const AccumulateJob& job, const Queue& queue) {
    if (job.num_levels > kMaxLevels) throw std::invalid_argument("accumulate: at most 42 levels");
    AddArgs args{};
    args.words = job.source.words, args.mask = job.source.mask, args.kind = job.source.kind;
    args.levels = static_cast<int>(job.num_levels);
    args.d = job.d;
    args.rest = job.rest;
    std::copy_n(job.sum, job.num_levels, args.sum);
    std::copy_n(job.pending, job.num_levels, args.pending);
    launch_threads<Add>(args, num_words(job.d), queue);
}

void margin(const MarginJob& job, const Queue& queue) {
    std::vector<Plane> planes;
    for (size_t i = 0; i < job.num_dots; ++i)
        planes.push_back({job.dots[i].words, static_cast<size_t>(job.dots[i].plane)});
    MarginArgs args{};
    args.d = job.d, args.out = job.out, args.offset = static_cast<int32_t>(job.offset),
    args.count = static_cast<int>(planes.size());
    fill(args.planes, planes, queue);
    launch_threads<Margin>(args, num_words(job.d) * kWarp, queue);
}

}  // namespace electioncode::cuda
