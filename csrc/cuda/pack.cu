// Signs of floats, or of a momentum updated on the way, 64 coordinates per word; many tensors in one launch.
//
// A warp packs a tile of 32 words. At each word a lane holds two neighbouring coordinates, so that a warp reads 64 of
// them at once; two ballots give the even and the odd bits, which lane w of the warp keeps for word w. At the end each
// lane interleaves its two halves, and the warp stores its 32 words at once.
#include "formats.h"
#include "tiles.h"

namespace electioncode::cuda {
namespace {

constexpr int kAtOnce = 8;  // words loaded together

struct Entry {  // one tensor
    const void* x;
    void* v;
    Word *words, *mask;
    size_t d, first_tile;
    size_t first_word;  // the random counter
    uint32_t stream;
    uint32_t number;  // of the tensor among those of the call
};

struct Args {
    static constexpr int kMost = 62;
    int count;
    Zero zero;
    Nan nan;
    bool negate;
    bool split;  // the signs are of beta * v + weight * x, but v becomes the sum of the split
    double beta, weight, split_beta, split_weight;
    uint32_t seed, step, purpose;
    const uint8_t* used;
    int* saw_nan;
    size_t tiles;
    Entry entries[kMost];
};

// Spread 32 bits over the even places of a word.
EC_DEVICE Word spread(uint32_t half) {
    Word w = half;
    w = (w | w << 16) & 0x0000ffff0000ffffu;
    w = (w | w << 8) & 0x00ff00ff00ff00ffu;
    w = (w | w << 4) & 0x0f0f0f0f0f0f0f0fu;
    w = (w | w << 2) & 0x3333333333333333u;
    return (w | w << 1) & 0x5555555555555555u;
}

struct Halves {
    uint32_t even, odd;
    EC_DEVICE Word word() const { return spread(even) | spread(odd) << 1; }
};

struct Masks {
    Halves negative, zero, nan;
};

template <typename Test, typename Values> EC_DEVICE Halves ballots(const Warp& warp, Values& values, Test test) {
    return {warp.ballot([&](int lane) { return test(values[lane].first); }),
            warp.ballot([&](int lane) { return test(values[lane].second); })};
}

template <typename F> EC_DEVICE typename F::Storage magnitude(typename F::Storage s) {
    return static_cast<typename F::Storage>(s & static_cast<typename F::Storage>(~F::kSign));
}

template <typename F> EC_DEVICE Pair<typename F::Storage> stepped(Pair<typename F::Storage> v,
                                                                  Pair<typename F::Storage> x, typename F::Compute beta,
                                                                  typename F::Compute weight) {
    return {momentum<F>(v.first, x.first, beta, weight), momentum<F>(v.second, x.second, beta, weight)};
}

// Read the masks of the tile's words, word w at lane w. kPlain: zeros vote +1, so they need no mask, and NaNs are only
// noticed.
template <typename F, bool kMomentum, bool kPlain, bool kFull>
EC_DEVICE bool read_tile(const Args& args, const Entry& entry, size_t first, int words, const Warp& warp,
                         PerLane<Masks>& mine) {
    using S = typename F::Storage;
    using C = typename F::Compute;
    const S* x = static_cast<const S*>(entry.x);
    S* v = static_cast<S*>(entry.v);
    const C beta = static_cast<C>(args.beta), weight = static_cast<C>(args.weight);
    const C split_beta = static_cast<C>(args.split_beta), split_weight = static_cast<C>(args.split_weight);
    PerLane<bool> nan;
    warp.each([&](int lane) { nan[lane] = false; });
    for (int base = 0; base < words; base += kAtOnce) {
        PerLane<Pair<S>> values[kAtOnce], old[kMomentum ? kAtOnce : 1];
        EC_UNROLL
        for (int i = 0; i < kAtOnce; ++i) {
            warp.each([&](int lane) {
                const size_t c = (first + static_cast<size_t>(base + i)) * kWordBits + 2 * static_cast<size_t>(lane);
                values[i][lane] = load_pair<kFull>(x, c, entry.d);
                if constexpr (kMomentum) old[i][lane] = load_pair<kFull>(static_cast<const S*>(v), c, entry.d);
            });
        }
        EC_UNROLL
        for (int i = 0; i < kAtOnce; ++i) {
            warp.each([&](int lane) {
                if constexpr (kMomentum) {
                    const size_t c =
                        (first + static_cast<size_t>(base + i)) * kWordBits + 2 * static_cast<size_t>(lane);
                    const Pair<S> x_pair = values[i][lane], v_pair = old[i][lane];
                    values[i][lane] = stepped<F>(v_pair, x_pair, beta, weight);
                    store_pair<kFull>(
                        v, c, entry.d,
                        args.split ? stepped<F>(v_pair, x_pair, split_beta, split_weight) : values[i][lane]);
                }
                nan[lane] = nan[lane] || magnitude<F>(values[i][lane].first) > F::kInfinity ||
                            magnitude<F>(values[i][lane].second) > F::kInfinity;
            });
            Masks masks{};
            masks.negative = ballots(warp, values[i], [](S s) { return s > F::kSign; });
            if constexpr (!kPlain) {
                masks.zero = ballots(warp, values[i], [](S s) { return magnitude<F>(s) == 0; });
                masks.nan = ballots(warp, values[i], [](S s) { return magnitude<F>(s) > F::kInfinity; });
            }
            warp.each([&](int lane) {
                if (lane == base + i) mine[lane] = masks;
            });
        }
    }
    return warp.ballot([&](int lane) { return nan[lane]; }) != 0;
}

template <typename F, bool kMomentum, bool kPlain> struct Pack {
    static constexpr int kThreads = 128;
    using Args = cuda::Args;

    static EC_DEVICE void run(const Args& args, const Warp& warp) {
        using S = typename F::Storage;
        if (warp.index >= args.tiles) return;  // the whole warp
        const Entry& entry = entry_of(args, warp.index);
        const size_t first = (warp.index - entry.first_tile) * kWarp, total = num_words(entry.d);
        const int words = static_cast<int>(total - first < kWarp ? total - first : kWarp);
        if (args.used && args.used[entry.number] == 0) {
            warp.each([&](int lane) {
                if (lane >= words) return;
                entry.words[first + static_cast<size_t>(lane)] = 0;
                if (entry.mask) entry.mask[first + static_cast<size_t>(lane)] = 0;
            });
            return;
        }
        const bool aligned = pairs_are_aligned(static_cast<const S*>(entry.x)) &&
                             (!kMomentum || pairs_are_aligned(static_cast<const S*>(entry.v)));
        PerLane<Masks> mine;
        bool nan;
        if (aligned && (first + kWarp) * kWordBits <= entry.d)
            nan = read_tile<F, kMomentum, kPlain, true>(args, entry, first, words, warp, mine);
        else nan = read_tile<F, kMomentum, kPlain, false>(args, entry, first, words, warp, mine);
        warp.each([&](int lane) {
            if (lane >= words) return;
            const size_t w = first + static_cast<size_t>(lane);
            const Word valid = valid_bits(entry.d, w), negative = mine[lane].negative.word();
            if constexpr (kPlain) {
                entry.words[w] = ~negative & valid;
            } else {
                const Word zero = mine[lane].zero.word(), is_nan = mine[lane].nan.word();
                Word vote = args.negate ? negative & ~is_nan : ~(negative | zero | is_nan), voted = valid;
                if (args.zero == Zero::kPlus) vote |= zero;
                if (args.zero == Zero::kRandom && (zero & valid)) {
                    const RandomStream random{args.seed, args.step, entry.stream, args.purpose};
                    vote |= zero & random_word(random, entry.first_word + w);
                }
                if (args.zero == Zero::kAbstain) voted &= ~zero;
                if (args.nan == Nan::kAbstain) voted &= ~is_nan;
                entry.words[w] = vote & voted;
                if (entry.mask) entry.mask[w] = voted;
            }
        });
        if (nan && args.saw_nan)
            warp.each([&](int lane) {
                if (lane == 0) *args.saw_nan = 1;
            });
    }
};

void launch(const Args& args, Dtype dtype, bool has_momentum, const Queue& queue) {
    bool masked = false;
    for (int i = 0; i < args.count; ++i) masked = masked || args.entries[i].mask;
    const bool plain = args.zero == Zero::kPlus && args.nan == Nan::kRaise && !args.negate && !masked;
    with_format(dtype, [&](auto format) {
        using F = decltype(format);
        if (has_momentum)
            plain ? launch_warps<Pack<F, true, true>>(args, args.tiles, queue)
                  : launch_warps<Pack<F, true, false>>(args, args.tiles, queue);
        else
            plain ? launch_warps<Pack<F, false, true>>(args, args.tiles, queue)
                  : launch_warps<Pack<F, false, false>>(args, args.tiles, queue);
    });
}

// Return whether two jobs may share a launch.
bool alike(const PackJob& a, const PackJob& b) {
    return a.dtype == b.dtype && !a.v == !b.v && a.beta == b.beta && a.weight == b.weight && a.negate == b.negate &&
           a.split == b.split && a.split_beta == b.split_beta && a.split_weight == b.split_weight && a.zero == b.zero &&
           a.nan == b.nan && a.random.seed == b.random.seed && a.random.step == b.random.step &&
           a.random.purpose == b.random.purpose;
}

}  // namespace

void pack(const std::vector<PackJob>& jobs, const uint8_t* used, int* nan, const Queue& queue) {
    const auto entry = [&](const PackJob& job, size_t tile) {
        const auto number = static_cast<uint32_t>(&job - jobs.data());
        return Entry{job.x, job.v, job.words, job.mask, job.d, tile, job.first_word, job.random.stream, number};
    };
    launch_tiles<Args>(jobs, alike, entry, [&](Args& args, const PackJob& like) {
        args.zero = like.zero, args.nan = like.nan, args.negate = like.negate;
        args.beta = like.beta, args.weight = like.weight;
        args.split = like.split, args.split_beta = like.split_beta, args.split_weight = like.split_weight;
        args.seed = like.random.seed, args.step = like.random.step, args.purpose = like.random.purpose;
        args.used = used;
        args.saw_nan = like.nan == Nan::kRaise ? nan : nullptr;
        launch(args, like.dtype, like.v != nullptr, queue);
    });
}

}  // namespace electioncode::cuda
