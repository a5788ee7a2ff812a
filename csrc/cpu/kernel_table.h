// The contract between the operations (ops.cpp) and the kernels of one instruction set.
// Plain data only: instruction-set translation units share no inline code and no STL with the rest,
// so no code compiled for AVX-512 can end up behind a symbol that every machine calls.
#pragma once

#include <cstddef>
#include <cstdint>

namespace electioncode {

using Word = std::uint64_t;
constexpr std::size_t kWordBits = 64;

enum class Dtype : int { kFloat16, kBFloat16, kFloat32, kFloat64, kInt8 };
enum class Zero : int { kPlus, kMinus, kRandom, kAbstain };
enum class Nan : int { kRaise, kMinus, kAbstain };
enum class Tie : int { kPlus, kMinus, kRandom, kAbstain };

// Philox4x32-10: key (seed, step), counter (word index, stream, purpose).
struct RandomStream {
    std::uint32_t seed, step, stream, purpose;
};

// Signs of x, or of the momentum v <- beta * v + weight * x when v is given (x and v share a dtype).
// Where `split`, the signs are of that sum all the same, but v <- split_beta * v + split_weight * x (Lion).
struct PackJob {
    const void* x;
    void* v;
    Dtype dtype;
    std::size_t d;
    double beta, weight;
    bool negate;  // signs of -x; with momentum the sign lies in `weight`
    Zero zero;
    Nan nan;
    RandomStream random;
    std::size_t first_word;  // index of x's first word within the whole vector: the random counter
    Word* words;             // words[w - words_first]
    Word* mask;              // nullptr where every coordinate votes
    std::size_t words_first;
    bool split = false;
    double split_beta = 0, split_weight = 0;
};

struct UnpackJob {
    const Word* words;
    const Word* mask;
    std::size_t d;
    Dtype dtype;
    void* out;
    bool streams = false;  // out is too large for the cache
};

// p <- decay * p, then p <- p + step * sign: each product and sum rounded to p's dtype.
struct UpdateJob {
    void* p;
    Dtype dtype;
    std::size_t d;
    double decay, step;
    const Word* words;
    const Word* mask;
};

// One bit to count at every coordinate, worth 2^plane.
enum class DotKind : int { kRow, kNotRow, kRowOrNotMask, kMaskAndNotRow };
struct Dot {
    const Word* words;
    const Word* mask;
    DotKind kind;
    int plane;
};

// out = (2 * count > maximum), where count sums the dots and maximum is the largest that it can be.
struct VoteJob {
    const Dot* dots;  // sorted by plane
    std::size_t num_dots;
    bool plain;  // every dot is a kRow of plane 0
    std::uint64_t maximum;
    Tie tie;
    RandomStream random;
    std::size_t d;
    std::size_t first_word;  // index of word 0 within the whole vector: the random counter
    Word* out;               // out[w - out_first]
    Word* out_mask;
    std::size_t out_first;
    std::uint64_t* differences;  // one a dot, of a plain vote: += coordinates that differ from the result; or nullptr
    bool streams;  // out is too large for the cache
};
constexpr std::size_t kPrefetchWords = 64;   // read this far ahead
constexpr std::size_t kStreamBytes = std::size_t{1} << 20;  // results from here on are streamed past the cache

// Adds one dot to carry-save counters: per level sum[l] <- sum ^ pending ^ carry, carry <- majority;
// the last carry goes to `rest`, which may be pending[0].
struct AccumulateJob {
    Dot source;
    std::size_t source_first;  // source.words[w - source_first]
    std::size_t num_levels;
    Word* const* sum;
    const Word* const* pending;
    Word* rest;
    std::size_t d;
};

struct MarginJob {
    const Dot* dots;
    std::size_t num_dots;
    std::int64_t offset;  // out = count - offset
    std::size_t d;
    std::int32_t* out;
};

struct DifferenceJob {
    const Word *a, *b;
    const Word *mask_a, *mask_b;  // counted where both voted; nullptr: all
};

// Scratch of a vote: the counters of one tile, then up to kGroupRows rows derived for it.
constexpr std::size_t kCounterWords = 32768;      // all planes of a tile
constexpr std::size_t kPlainTileWords = 4096;     // long stretches of each row keep the memory's prefetching going
constexpr std::size_t kDerivedTileWords = 1024;   // where rows must be derived
constexpr std::size_t kGroupRows = 16;
constexpr std::size_t kDirectRows = 16;           // rows of a vote that are counted in registers
constexpr std::size_t kVoteScratchWords = kCounterWords + kGroupRows * kDerivedTileWords;  // 384 KiB a thread
constexpr std::size_t counter_tile(int planes, bool plain) {
    const std::size_t fits = kCounterWords / static_cast<std::size_t>(planes) / 8 * 8;
    const std::size_t most = plain ? kPlainTileWords : kDerivedTileWords;
    return fits < most ? fits : most;
}

// Majorities of rows, the messages of a code, and the majority of those. A run is a number of messages that are
// counted alike: alone, from `size` rows each; or as a chain, where the first is counted from `size` rows and each
// further one from the one before it, with some rows added and some removed.
struct CodedLink {
    std::uint32_t added, removed;
};
struct CodedRun {
    const Word* const* rows;  // of all messages, one after the other; of a link, the added and then the removed
    std::size_t messages, size;
    int planes;               // of a chain, enough for its largest count; 0: alone
    const CodedLink* links;   // of a chain, messages - 1
};
struct CodedOutput {
    std::size_t message;
    Word* out;
};
struct CodedJob {
    const CodedRun* runs;
    std::size_t num_runs, num_messages;
    const Word* const* used;  // every row once
    std::size_t num_used;
    bool ties_plus;           // of the messages; else their ties are minus
    const CodedOutput* outputs;   // messages to store
    std::size_t num_outputs;
    bool streams;                 // they are too large for the cache
    const std::uint32_t* voters;  // messages that vote, repeated by their weight; without any there is no vote
    std::size_t num_voters;
    Tie tie;                  // of the vote over the messages
    RandomStream random;
    std::size_t d;
    Word* out;
    Word* out_mask;
};
constexpr std::size_t kLineWords = 8;  // a line of the cache; no vector is longer
constexpr std::size_t kMessageWords = 1024;  // of each message, stored at a time
constexpr std::size_t message_block(std::size_t num_messages) {
    const std::size_t fits = (std::size_t{1} << 17) / num_messages / 64 * 64;  // 1 MiB of messages
    return fits > kMessageWords ? kMessageWords : fits < 64 ? 64 : fits;
}
// From one message's block to the next: a line more, or all would fall into the same few sets of the cache.
constexpr std::size_t message_stride(std::size_t num_messages) { return message_block(num_messages) + kLineWords; }
constexpr int kMaxChainPlanes = 12;  // counts of up to 4095

// One row of the dispatch table. Every kernel works on the words [begin, end) of its job.
struct KernelTable {
    const char* name;
    bool (*pack)(const PackJob&, std::size_t begin, std::size_t end);  // true if a NaN was seen
    void (*unpack)(const UnpackJob&, std::size_t begin, std::size_t end);
    void (*update)(const UpdateJob&, std::size_t begin, std::size_t end);
    void (*vote)(const VoteJob&, Word* scratch, std::size_t begin, std::size_t end);
    void (*coded)(const CodedJob&, Word* scratch, std::size_t begin, std::size_t end);
    void (*accumulate)(const AccumulateJob&, std::size_t begin, std::size_t end);
    void (*margin)(const MarginJob&, std::size_t begin, std::size_t end);
    std::uint64_t (*differences)(const DifferenceJob&, std::size_t begin, std::size_t end);
    void (*random)(const RandomStream&, Word* out, std::size_t begin, std::size_t end);  // out[w - begin]
    std::uint64_t (*checksum)(const Word* words, std::size_t begin, std::size_t end);
    // For benchmarks: memory's own speed, reading / copying / reading two arrays and rewriting one of them.
    Word (*read_only)(const Word* words, std::size_t begin, std::size_t end);
    void (*copy)(const Word* from, Word* to, std::size_t begin, std::size_t end);
    void (*rewrite)(const Word* from, Word* to, std::size_t begin, std::size_t end);
};

extern const KernelTable kScalarKernels;
extern const KernelTable kAvx2Kernels;
extern const KernelTable kAvx512Kernels;
extern const KernelTable kNeonKernels;

}  // namespace electioncode
