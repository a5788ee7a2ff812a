// Votes over a code: every worker's majority of its partitions, stored, or counted at once for the vote among workers.
//
// A thread has one word of all partitions. It takes them to shared memory, where they fit, and walks over the workers:
// the partitions are read from memory once, and local votes never leave the registers where only the winner is wanted.
#include "counters.h"
#include "runtime.h"

namespace electioncode::cuda {
namespace {

constexpr size_t kSharedBytes = 48 * 1024;  // what every device gives a block

struct Index {  // two 32-bit numbers: Table copies whole words
    uint32_t a, b;
};

struct CodedArgs {
    const Word* words;
    const Word* mask;
    size_t stride, mask_stride;
    uint32_t partitions;
    uint32_t workers;
    bool staged;
    bool fused;
    bool masked_messages;  // of the fused vote: local ties abstain
    Tie tie;
    RandomStream random;  // of the local votes
    size_t d;
    Word* out;
    Word* out_mask;
    size_t out_stride, out_mask_stride;
    uint64_t maximum;         // of the fused vote
    RandomStream global;      // of the fused vote
    Table<Index, 440> lists;  // each worker's first place and size, then the members, two per word
};

EC_DEVICE uint32_t member(const CodedArgs& args, uint32_t place) {
    const Index pair = args.lists[args.workers + place / 2];
    return place % 2 ? pair.b : pair.a;
}

template <int kPlanes> struct Coded {
    static constexpr int kThreads = 128;
    using Args = CodedArgs;

    static EC_DEVICE void run(const Args& args, Thread t) {
        const size_t w = t.index;
        if (w >= num_words(args.d)) return;  // no thread waits for another: each has its own part of shared memory
        const Word* words = args.words + w;
        const Word* masks = args.mask ? args.mask + w : nullptr;
        size_t stride = args.stride, mask_stride = args.mask_stride;
        if (args.staged) {
            Word* mine = t.shared + t.in_block;
            const size_t next = static_cast<size_t>(t.block_size), half = args.partitions * next;
            EC_UNROLL_BY_8
            for (uint32_t j = 0; j < args.partitions; ++j) {
                mine[j * next] = load_once(words + j * stride);
                if (masks) mine[half + j * next] = load_once(masks + j * mask_stride);
            }
            words = mine;
            if (masks) masks = mine + half;
            stride = mask_stride = next;
        }
        const Word valid = valid_bits(args.d, w);
        Counter<kPlanes> local, global;
        global.clear();
        for (uint32_t worker = 0; worker < args.workers; ++worker) {
            const Index list = args.lists[worker];
            Verdict verdict{0, 0};
            if (list.b > 0) {
                local.clear();
                masks ? count<true>(args, list, words, stride, masks, mask_stride, local)
                      : count<false>(args, list, words, stride, nullptr, 0, local);
                RandomStream random = args.random;
                random.stream += worker;
                verdict = decide(local, uint64_t{list.b} * (masks ? 2 : 1), args.tie, random, w, valid);
            }
            if (!args.fused) {
                args.out[worker * args.out_stride + w] = verdict.winner;
                if (args.out_mask) args.out_mask[worker * args.out_mask_stride + w] = verdict.voted;
            } else if (list.b > 0) {  // a worker that holds nothing abstains
                Word x[2] = {verdict.winner, verdict.winner | ~verdict.voted};
                if (args.masked_messages) global.template add<2>(x);
                else global.template add<1>(x);
            }
        }
        if (!args.fused) return;
        const Verdict verdict = decide(global, args.maximum, args.tie, args.global, w, valid);
        args.out[w] = verdict.winner;
        if (args.out_mask) args.out_mask[w] = verdict.voted;
    }

private:
    // Count a worker's partitions; with masks each puts in two bits.
    template <bool kMasked> static EC_DEVICE void count(const Args& args, Index list, const Word* words, size_t stride,
                                                        const Word* masks, size_t mask_stride,
                                                        Counter<kPlanes>& counter) {
        constexpr uint32_t kBits = kMasked ? 2 : 1, kVoters = kGroup / kBits;
        for (uint32_t first = 0; first < list.b; first += kVoters) {
            Word x[kGroup];
            EC_UNROLL
            for (uint32_t i = 0; i < kVoters; ++i) {
                x[kBits * i] = x[kBits * i + kBits - 1] = 0;
                if (first + i >= list.b) continue;
                const size_t j = member(args, list.a + first + i);
                x[kBits * i] = words[j * stride];
                if constexpr (kMasked) x[kBits * i + 1] = x[kBits * i] | ~masks[j * mask_stride];
            }
            counter.template add<kGroup>(x);
        }
    }
};

void launch(CodedArgs args, const CodedVote& vote, const Queue& queue) {
    const Code& code = vote.code;
    args.words = vote.partitions.words, args.mask = vote.partitions.mask;
    args.stride = vote.partitions.stride, args.mask_stride = vote.partitions.mask_stride;
    args.partitions = static_cast<uint32_t>(vote.partitions.rows);
    args.workers = static_cast<uint32_t>(code.num_workers());
    args.tie = vote.tie, args.random = vote.random, args.d = vote.d;
    std::vector<Index> lists;
    size_t largest = 0;
    for (size_t i = 0; i < code.num_workers(); ++i) {
        lists.push_back({static_cast<uint32_t>(code.first[i]), static_cast<uint32_t>(code.load(i))});
        largest = std::max(largest, code.load(i));
    }
    for (size_t m = 0; m < code.members.size(); m += 2) {
        const size_t other = m + 1 < code.members.size() ? code.members[m + 1] : 0;
        lists.push_back({static_cast<uint32_t>(code.members[m]), static_cast<uint32_t>(other)});
    }
    fill(args.lists, lists, queue);
    const size_t rows = vote.partitions.rows * (args.mask ? 2 : 1), words = num_words(vote.d);
    int block = 128;
    while (block > 32 && rows * static_cast<size_t>(block) * sizeof(Word) > kSharedBytes) block /= 2;
    size_t shared = rows * static_cast<size_t>(block) * sizeof(Word);
    args.staged = shared <= kSharedBytes;
    if (!args.staged) block = 128, shared = 0;
    const uint64_t most = std::max<uint64_t>(largest * (args.mask ? 2 : 1), args.maximum);
    if (most < 32) return launch_threads<Coded<5>>(args, words, queue, block, shared);
    if (most < 256) return launch_threads<Coded<8>>(args, words, queue, block, shared);
    launch_threads<Coded<24>>(args, words, queue, block, shared);
}

}  // namespace

void local_majorities(const CodedVote& vote, Word* out, size_t stride, Word* out_mask, size_t mask_stride,
                      const Queue& queue) {
    CodedArgs args{};
    args.out = out, args.out_mask = out_mask, args.out_stride = stride, args.out_mask_stride = mask_stride;
    launch(args, vote, queue);
}

void coded_majority(const CodedVote& vote, const Decision& decision, const Queue& queue) {
    CodedArgs args{};
    args.fused = true;
    args.masked_messages = vote.tie == Tie::kAbstain;
    for (size_t i = 0; i < vote.code.num_workers(); ++i)
        if (vote.code.load(i) > 0) args.maximum += args.masked_messages ? 2 : 1;
    args.global = decision.random;
    args.out = decision.out, args.out_mask = decision.out_mask;
    launch(args, vote, queue);
}

}  // namespace electioncode::cuda
