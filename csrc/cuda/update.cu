// Packed signs to floats: as they are, or as a step of parameters; many tensors in one launch.
//
// A warp works on a tile of 32 words. At each word a lane holds two neighbouring coordinates, and reads the word
// itself: all lanes read the same, which is one access.
#include "formats.h"
#include "tiles.h"

namespace electioncode::cuda {
namespace {

constexpr int kAtOnce = 8;  // words loaded together

struct Entry {  // one tensor
    void* values;
    const Word* words;
    const Word* mask;
    size_t d;
    size_t first_tile;
};

struct Args {
    static constexpr int kMost = 100;
    int count;
    double decay, step;
    size_t tiles;
    Entry entries[kMost];
};

// One of three values: where the bit is set, where it is clear, where the mask is.
template <typename T> struct Choice {
    T plus, minus, none;
    EC_DEVICE T of(Word votes, Word voted, int bit) const {
        if (!((voted >> bit) & 1)) return none;
        return (votes >> bit) & 1 ? plus : minus;
    }
};

// Call change(values, votes, voted, bit) for each pair, bit being the first one's place in the words, and store them.
template <bool kRead, bool kFull, typename S, typename Change>
EC_DEVICE void change_tile(const Entry& entry, size_t first, int words, int lane, Change change) {
    S* to = static_cast<S*>(entry.values);
    const int bit = 2 * lane;
    for (int base = 0; base < words; base += kAtOnce) {
        Pair<S> values[kAtOnce];
        Word votes[kAtOnce], voted[kAtOnce];
        EC_UNROLL
        for (int i = 0; i < kAtOnce; ++i) {
            const size_t w = first + static_cast<size_t>(base + i);
            const bool exists = kFull || base + i < words;
            votes[i] = exists ? entry.words[w] : 0;
            voted[i] = entry.mask && exists ? entry.mask[w] : ~Word{0};
            if constexpr (kRead)
                values[i] =
                    load_pair<kFull>(static_cast<const S*>(to), w * kWordBits + static_cast<size_t>(bit), entry.d);
        }
        EC_UNROLL
        for (int i = 0; i < kAtOnce; ++i) {
            const size_t w = first + static_cast<size_t>(base + i);
            store_pair<kFull>(to, w * kWordBits + static_cast<size_t>(bit), entry.d,
                              change(values[i], votes[i], voted[i], bit));
        }
    }
}

template <bool kRead, typename S, typename Change>
EC_DEVICE void change_tensor(const Args& args, Thread t, Change change) {
    const size_t tile = t.index / kWarp;
    if (tile >= args.tiles) return;
    const int lane = t.in_block % kWarp;
    const Entry& entry = entry_of(args, tile);
    const size_t first = (tile - entry.first_tile) * kWarp, total = num_words(entry.d);
    const int words = static_cast<int>(total - first < kWarp ? total - first : kWarp);
    if (pairs_are_aligned(static_cast<const S*>(entry.values)) && (first + kWarp) * kWordBits <= entry.d)
        change_tile<kRead, true, S>(entry, first, words, lane, change);
    else change_tile<kRead, false, S>(entry, first, words, lane, change);
}

// S holds the bits of the values.
template <typename S, S kPlus, S kMinus> struct Unpack {
    static constexpr int kThreads = 128;
    using Args = cuda::Args;

    static EC_DEVICE void run(const Args& args, Thread t) {
        const Choice<S> sign{kPlus, kMinus, S{0}};
        change_tensor<false, S>(args, t, [sign](Pair<S>, Word votes, Word voted, int bit) {
            return Pair<S>{sign.of(votes, voted, bit), sign.of(votes, voted, bit + 1)};
        });
    }
};

// p <- decay * p, then p <- p + step * sign: each product and sum rounded to p's dtype.
template <typename F> struct Update {
    static constexpr int kThreads = 128;
    using Args = cuda::Args;

    static EC_DEVICE void run(const Args& args, Thread t) {
        using S = typename F::Storage;
        using C = typename F::Compute;
        const C decay = static_cast<C>(args.decay), step = rounded<F>(static_cast<C>(args.step));
        const Choice<C> change{step, -step, multiply(step, C{0})};  // a zero has a sign too
        change_tensor<true, S>(args, t, [=](Pair<S> p, Word votes, Word voted, int bit) {
            return Pair<S>{moved<F>(p.first, decay, change.of(votes, voted, bit)),
                           moved<F>(p.second, decay, change.of(votes, voted, bit + 1))};
        });
    }
};

}  // namespace

void unpack(const std::vector<UnpackJob>& jobs, const Queue& queue) {
    const auto alike = [](const UnpackJob& a, const UnpackJob& b) { return a.dtype == b.dtype; };
    const auto entry = [](const UnpackJob& job, size_t tile) {
        return Entry{job.out, job.words, job.mask, job.d, tile};
    };
    launch_tiles<Args>(jobs, alike, entry, [&](const Args& args, const UnpackJob& like) {
        const size_t threads = args.tiles * kWarp;
        if (like.dtype == Dtype::kInt8) return launch_threads<Unpack<uint8_t, 1, 0xff>>(args, threads, queue);
        with_format(like.dtype, [&](auto format) {
            using F = decltype(format);
            launch_threads<Unpack<typename F::Storage, F::kOne, F::kOne | F::kSign>>(args, threads, queue);
        });
    });
}

void update(const std::vector<UpdateJob>& jobs, const Queue& queue) {
    const auto alike = [](const UpdateJob& a, const UpdateJob& b) {
        return a.dtype == b.dtype && a.decay == b.decay && a.step == b.step;
    };
    const auto entry = [](const UpdateJob& job, size_t tile) { return Entry{job.p, job.words, job.mask, job.d, tile}; };
    launch_tiles<Args>(jobs, alike, entry, [&](Args& args, const UpdateJob& like) {
        args.decay = like.decay, args.step = like.step;
        with_format(like.dtype,
                    [&](auto format) { launch_threads<Update<decltype(format)>>(args, args.tiles * kWarp, queue); });
    });
}

}  // namespace electioncode::cuda
