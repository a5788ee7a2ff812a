// Replays recorded calls on the CUDA kernels built for the CPU and compares with the recorded results: see README.md.
#include <cstdio>
#include <vector>

#include "../cuda/ops.h"
#include "records.h"

namespace electioncode {
namespace {

std::size_t num_words(std::size_t d) { return (d + kWordBits - 1) / kWordBits; }

// Scratch as the device would give it: of exactly the size asked for, and gone after the call.
struct Scratch {
    std::vector<Block> blocks;
    cuda::Queue queue{0, nullptr, [this](std::size_t bytes) { return static_cast<void*>(blocks.emplace_back(bytes).data.get()); }};
};

bool replay_pack(const Record& r, const cuda::Queue& queue) {
    const std::size_t d = r.size(1);
    Block words(r.arrays[1].size), mask(r.arrays[2].size);
    PackJob job{};
    job.x = r.arrays[0].data.get(), job.dtype = static_cast<Dtype>(r.integers[0]), job.d = d;
    job.zero = static_cast<Zero>(r.integers[2]), job.nan = static_cast<Nan>(r.integers[3]);
    job.random = {r.key(4), r.key(5), r.key(6), 1};
    job.words = words.as<Word>(), job.mask = mask.as<Word>();
    int nan = 0;
    cuda::pack({job}, nullptr, &nan, queue);
    return words == r.arrays[1] && mask == r.arrays[2] && nan == 0;
}

bool replay_momentum(const Record& r, const cuda::Queue& queue) {
    Block v(r.arrays[1]), words(r.arrays[2].size);
    PackJob job{};
    job.x = r.arrays[0].data.get(), job.v = v.data.get(), job.dtype = static_cast<Dtype>(r.integers[0]), job.d = r.size(1);
    job.beta = r.real(2), job.weight = r.real(3);
    if (r.integers.size() > 4) job.split = true, job.split_beta = r.real(4), job.split_weight = r.real(5);
    job.words = words.as<Word>();
    cuda::pack({job}, nullptr, nullptr, queue);
    return words == r.arrays[2] && v == r.arrays[3];
}

bool replay_unpack(const Record& r, const cuda::Queue& queue) {
    Block out(r.arrays[2].size);
    cuda::unpack({{r.arrays[0].as<Word>(), r.arrays[1].as<Word>(), r.size(1), static_cast<Dtype>(r.integers[0]), out.data.get()}}, queue);
    return out == r.arrays[2];
}

bool replay_update(const Record& r, const cuda::Queue& queue) {
    Block p(r.arrays[0]);
    cuda::update({{p.data.get(), static_cast<Dtype>(r.integers[0]), r.size(1), r.real(2), r.real(3), r.arrays[1].as<Word>(), r.arrays[2].as<Word>()}},
                 queue);
    return p == r.arrays[3];
}

bool replay_majority(const Record& r, const cuda::Queue& queue) {
    const std::size_t n = r.size(0), d = r.size(1);
    std::vector<cuda::Voter> voters;
    for (std::size_t i = 0; i < n; ++i)
        voters.push_back({r.arrays[0].as<Word>(i * num_words(d)), r.arrays[1].as<Word>(i * num_words(d)), *r.arrays[2].as<std::int64_t>(i)});
    Block winner(r.arrays[3].size), voted(r.arrays[4].size);
    cuda::majority(voters, {static_cast<Tie>(r.integers[2]), {r.key(3), r.key(4), 0, 0}, d, winner.as<Word>(), voted.as<Word>()}, queue);
    Block counts(r.arrays[5].size);
    std::memset(counts.data.get(), 0, counts.size);
    cuda::disagreement(voters, {winner.as<Word>(), voted.as<Word>(), 1}, d, counts.as<std::int64_t>(), queue);
    return winner == r.arrays[3] && voted == r.arrays[4] && counts == r.arrays[5];
}

bool replay_coded(const Record& r, const cuda::Queue& queue) {
    const std::size_t n = r.size(0), k = r.size(1), d = r.size(2), words = num_words(d);
    cuda::CodedVote vote{{r.arrays[0].as<Word>(), r.arrays[1].as<Word>(), k, words, words}, {{0}, {}}, static_cast<Tie>(r.integers[3]),
                         {r.key(4), r.key(5), 1, 0}, d};
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < k; ++j)
            if (*r.arrays[2].as<std::uint8_t>(i * k + j)) vote.code.members.push_back(j);
        vote.code.first.push_back(vote.code.members.size());
    }
    Block local(r.arrays[3].size), local_mask(r.arrays[4].size), winner(r.arrays[5].size), voted(r.arrays[6].size);
    cuda::local_majorities(vote, local.as<Word>(), words, local_mask.as<Word>(), words, queue);
    cuda::coded_majority(vote, {vote.tie, {r.key(4), r.key(5), 0, 0}, d, winner.as<Word>(), voted.as<Word>()}, queue);
    return local == r.arrays[3] && local_mask == r.arrays[4] && winner == r.arrays[5] && voted == r.arrays[6];
}

// The votes one by one into carry-save counters, as electioncode.Tally keeps them.
bool replay_tally(const Record& r, const cuda::Queue& queue) {
    const std::size_t n = r.size(0), d = r.size(1), bytes = num_words(d) * sizeof(Word);
    std::vector<std::vector<Block>> planes(16);
    const auto add = [&](const Word* words, const Word* mask, DotKind kind, std::size_t plane) {
        std::vector<Word*> sums;
        std::vector<const Word*> pending;
        std::size_t top = plane;
        for (; planes[top].size() == 2; ++top) {
            sums.push_back(planes[top][0].as<Word>());
            pending.push_back(planes[top][1].as<Word>());
        }
        Block rest(bytes);
        cuda::accumulate({{words, mask, kind, 0}, 0, sums.size(), sums.data(), pending.data(), rest.as<Word>(), d}, queue);
        for (std::size_t p = plane; p < top; ++p) planes[p].pop_back();
        planes[top].push_back(std::move(rest));
    };
    for (std::size_t i = 0; i < n; ++i) {
        const Word *words = r.arrays[0].as<Word>(i * num_words(d)), *mask = r.arrays[1].as<Word>(i * num_words(d));
        add(words, mask, DotKind::kRow, mask ? 0 : 1);
        if (mask) add(words, mask, DotKind::kRowOrNotMask, 0);
    }
    std::vector<Dot> dots;
    for (std::size_t p = 0; p < planes.size(); ++p)
        for (const Block& row : planes[p]) dots.push_back({row.as<Word>(), nullptr, DotKind::kRow, static_cast<int>(p)});
    Block winner(r.arrays[2].size), voted(r.arrays[3].size), total(r.arrays[4].size);
    cuda::majority_of_counters(dots, 2 * n, {static_cast<Tie>(r.integers[2]), {r.key(3), r.key(4), 0, 0}, d, winner.as<Word>(), voted.as<Word>()}, queue);
    cuda::margin({dots.data(), dots.size(), static_cast<std::int64_t>(n), d, total.as<std::int32_t>()}, queue);
    return winner == r.arrays[2] && voted == r.arrays[3] && total == r.arrays[4];
}

bool replay(const Record& r) {
    Scratch scratch;
    switch (r.operation) {
        case kPack: return replay_pack(r, scratch.queue);
        case kMomentum: return replay_momentum(r, scratch.queue);
        case kUnpack: return replay_unpack(r, scratch.queue);
        case kUpdate: return replay_update(r, scratch.queue);
        case kMajority: return replay_majority(r, scratch.queue);
        case kCoded: return replay_coded(r, scratch.queue);
        case kTally: return replay_tally(r, scratch.queue);
        default: return true;  // random words and checksums are the CPU's alone
    }
}

}  // namespace
}  // namespace electioncode

int main(int argc, char** argv) {
    using namespace electioncode;
    if (argc != 2) {
        std::fprintf(stderr, "usage: replay_cuda RECORDS\n");
        return 2;
    }
    const std::vector<Record> records = read_records(argv[1]);
    int failed = 0, counts[kOperations] = {};
    for (std::size_t i = 0; i < records.size(); ++i) {
        ++counts[records[i].operation];
        if (replay(records[i])) continue;
        ++failed;
        std::printf("cuda, emulated: record %zu (%s) differs\n", i, kNames[records[i].operation]);
    }
    std::printf("cuda, emulated:");
    for (int op = kPack; op <= kTally; ++op) std::printf(" %s %d", kNames[op], counts[op]);
    std::printf("\n%s\n", failed ? "FAILED" : "all equal");
    return failed ? 1 : 0;
}
