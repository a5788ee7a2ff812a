// The contract between the operations and the kernels of one instruction set: plain data and pointers to functions.
#pragma once

#include "../votes.h"

namespace electioncode {

// out = (2 * count > maximum), where count sums the dots and maximum is the largest that it can be.
struct VoteJob {
    const Dot* dots;  // sorted by plane
    size_t num_dots;
    bool plain;  // every dot is a kRow of plane 0
    uint64_t maximum;
    Tie tie;
    RandomStream random;
    size_t d;
    size_t first_word;     // index of word 0 within the whole vector: the random counter
    Word *out, *out_mask;  // out[w - out_first]
    size_t out_first;
    uint64_t* differences;  // of a plain vote, per dot: += coordinates that differ from the result; or nullptr
    bool streams;           // out is too large for the cache
};
constexpr size_t kPrefetchWords = 64;             // read this far ahead
constexpr size_t kStreamBytes = size_t{1} << 20;  // results of this size and more bypass the cache

struct DifferenceJob {
    const Word *a, *b;
    const Word *mask_a, *mask_b;  // counted where both voted; nullptr: everywhere
};

// Scratch of a vote: the counters of one tile, then up to kGroupRows rows derived for it.
constexpr size_t kCounterWords = 32768;     // all planes of a tile
constexpr size_t kPlainTileWords = 4096;    // long stretches per row keep the memory's prefetcher busy
constexpr size_t kDerivedTileWords = 1024;  // where rows must be derived
constexpr size_t kGroupRows = 16;           // rows added at a time: with the four low planes, all full adders
constexpr size_t kDirectRows = 16;          // rows of a vote that are counted in registers
constexpr size_t kVoteScratchWords = kCounterWords + kGroupRows * kDerivedTileWords;  // 384 KiB per thread

// Majorities of rows (the messages of a code) and the majority of those. A run is a number of messages that are counted
// alike: alone, from `size` rows each; or as a chain, where the first is counted from `size` rows and each further one
// from the one before it, with some rows added and some removed.
struct CodedLink {
    uint32_t added, removed;
};
struct CodedRun {
    const Word* const* rows;  // per message in order; per link, the added and then the removed
    size_t messages, size;
    int planes;              // of a chain, enough for its largest count; 0: alone
    const CodedLink* links;  // of a chain, messages - 1
};
struct CodedOutput {
    size_t message;
    Word* out;
};
struct CodedJob {
    const CodedRun* runs;
    size_t num_runs, num_messages;
    const Word* const* used;  // every row once
    size_t num_used;
    bool ties_plus;              // of the messages; else their ties are minus
    const CodedOutput* outputs;  // messages to store
    size_t num_outputs;
    bool streams;            // they are too large for the cache
    const uint32_t* voters;  // messages that vote, repeated by their weight; without any there is no vote
    size_t num_voters;
    Tie tie;  // of the vote over the messages
    RandomStream random;
    size_t d;
    Word *out, *out_mask;
};
constexpr size_t kLineWords = 8;        // a cache line; no vector is longer
constexpr size_t kMessageWords = 1024;  // of each message, stored at a time
constexpr int kMaxChainPlanes = 12;     // counts of up to 4095

ELECTIONCODE_SHARED constexpr size_t message_block(size_t num_messages) {
    const size_t fits = (size_t{1} << 17) / num_messages / 64 * 64;  // 1 MiB of messages
    return fits > kMessageWords ? kMessageWords : fits < 64 ? 64 : fits;
}
// Return the distance between messages' blocks: with a line more, they do not all fall into the same few cache sets.
ELECTIONCODE_SHARED constexpr size_t message_stride(size_t num_messages) {
    return message_block(num_messages) + kLineWords;
}

// Every kernel: result, name, what it works on. A kernel takes the words [begin, end) of its job.
// clang-format off: one line per kernel
#define ELECTIONCODE_FOR_EACH_KERNEL(kernel)                                          \
    kernel(bool, pack, const PackJob&) /* true if a NaN was seen */                   \
    kernel(void, unpack, const UnpackJob&)                                            \
    kernel(void, update, const UpdateJob&)                                            \
    kernel(void, vote, const VoteJob&, Word* scratch)                                 \
    kernel(void, code_votes, const CodedJob&, Word* scratch)                          \
    kernel(void, accumulate, const AccumulateJob&)                                    \
    kernel(void, margin, const MarginJob&)                                            \
    kernel(uint64_t, differences, const DifferenceJob&)                          \
    kernel(void, random_words, const RandomStream&, Word* out) /* out[w - begin] */   \
    kernel(uint64_t, checksum, const Word* words)                                \
    kernel(Word, read_words, const Word* words) /* these three: memory's own speed */ \
    kernel(void, copy_words, const Word* from, Word* to)                              \
    kernel(void, rewrite_words, const Word* from, Word* to)
// clang-format on

// One row of the dispatch table.
struct KernelTable {
    const char* name;
#define ELECTIONCODE_DECLARE(result, kernel, ...) result (*kernel)(__VA_ARGS__, size_t begin, size_t end);
    ELECTIONCODE_FOR_EACH_KERNEL(ELECTIONCODE_DECLARE)
#undef ELECTIONCODE_DECLARE
};

extern const KernelTable kScalarKernels, kAvx2Kernels, kAvx512Kernels, kNeonKernels;

}  // namespace electioncode
