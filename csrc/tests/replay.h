// Replays recorded calls on a device and compares with the recorded results: see README.md.
//
// A device has pack, unpack, update, majority, disagreement, local_majorities, coded_majority, accumulate,
// majority_of_counters and margin on host pointers.
#pragma once

#include "../votes.h"
#include "records.h"

namespace electioncode {

// The rows of a recorded vote over a code.
struct RecordedCode {
    const Word* words;
    const Word* mask;
    size_t partitions;
    Code code;
    Tie tie;
    RandomStream random;
    size_t d;
};

inline std::vector<Voter> voters_of(const Word* words, const Word* mask, size_t n, size_t d) {
    std::vector<Voter> voters;
    for (size_t i = 0; i < n; ++i)
        voters.push_back({words + i * num_words(d), mask ? mask + i * num_words(d) : nullptr, 1});
    return voters;
}

inline PackJob pack_job(const Record& r, const Block& words) {
    PackJob job;
    job.x = r.arrays[0].data.get();
    job.dtype = static_cast<Dtype>(r.integers[0]);
    job.d = r.size(1);
    job.words = words.as<Word>();
    return job;
}

template <typename Device> bool replay_pack(Device& device, const Record& r) {
    Block words(r.arrays[1].size), mask(r.arrays[2].size);
    PackJob job = pack_job(r, words);
    job.zero = static_cast<Zero>(r.integers[2]), job.nan = static_cast<Nan>(r.integers[3]);
    job.random = {r.key(4), r.key(5), r.key(6), 1};
    job.mask = mask.as<Word>();
    const bool raised = device.pack(job) && job.nan == Nan::kRaise;
    return words == r.arrays[1] && mask == r.arrays[2] && !raised;
}

template <typename Device> bool replay_momentum(Device& device, const Record& r) {
    Block v(r.arrays[1]), words(r.arrays[2].size);
    PackJob job = pack_job(r, words);
    job.v = v.data.get();
    job.beta = r.real(2), job.weight = r.real(3);
    if (r.integers.size() > 4) job.split = true, job.split_beta = r.real(4), job.split_weight = r.real(5);
    device.pack(job);
    return words == r.arrays[2] && v == r.arrays[3];
}

template <typename Device> bool replay_unpack(Device& device, const Record& r) {
    Block out(r.arrays[2].size);
    const auto dtype = static_cast<Dtype>(r.integers[0]);
    device.unpack({r.arrays[0].as<Word>(), r.arrays[1].as<Word>(), r.size(1), dtype, out.data.get()});
    return out == r.arrays[2];
}

template <typename Device> bool replay_update(Device& device, const Record& r) {
    Block p(r.arrays[0]);
    const auto dtype = static_cast<Dtype>(r.integers[0]);
    device.update(
        {p.data.get(), dtype, r.size(1), r.real(2), r.real(3), r.arrays[1].as<Word>(), r.arrays[2].as<Word>()});
    return p == r.arrays[3];
}

template <typename Device> bool replay_majority(Device& device, const Record& r) {
    const size_t n = r.size(0), d = r.size(1);
    std::vector<Voter> voters = voters_of(r.arrays[0].as<Word>(), r.arrays[1].as<Word>(), n, d);
    for (size_t i = 0; i < n; ++i) voters[i].weight = *r.arrays[2].as<int64_t>(i);
    Block winner(r.arrays[3].size), voted(r.arrays[4].size);
    const RandomStream random{r.key(3), r.key(4), 0, 0};
    const Decision decision{static_cast<Tie>(r.integers[2]), random, d, winner.as<Word>(), voted.as<Word>()};
    const std::vector<int64_t> expected(r.arrays[5].as<int64_t>(), r.arrays[5].as<int64_t>(n));
    device.majority(voters, decision);
    const Voter result{winner.as<Word>(), voted.as<Word>(), 1};
    const bool good =
        winner == r.arrays[3] && voted == r.arrays[4] && device.disagreement(voters, result, d) == expected;
    return good && device.majority_and_disagreement(voters, decision) == expected && winner == r.arrays[3];
}

template <typename Device> bool replay_coded(Device& device, const Record& r) {
    const size_t n = r.size(0), k = r.size(1), d = r.size(2);
    const RandomStream random{r.key(4), r.key(5), 1, 0}, global{r.key(4), r.key(5), 0, 0};
    RecordedCode vote{
        r.arrays[0].as<Word>(), r.arrays[1].as<Word>(), k, {{0}, {}}, static_cast<Tie>(r.integers[3]), random, d};
    for (size_t i = 0; i < n; ++i) {
        for (size_t j = 0; j < k; ++j)
            if (*r.arrays[2].as<uint8_t>(i * k + j)) vote.code.members.push_back(j);
        vote.code.first.push_back(vote.code.members.size());
    }
    Block local(r.arrays[3].size), local_mask(r.arrays[4].size), winner(r.arrays[5].size), voted(r.arrays[6].size);
    device.local_majorities(vote, local.as<Word>(), local_mask.as<Word>());
    device.coded_majority(vote, {vote.tie, global, d, winner.as<Word>(), voted.as<Word>()});
    return local == r.arrays[3] && local_mask == r.arrays[4] && winner == r.arrays[5] && voted == r.arrays[6];
}

// Add the votes one by one to carry-save counters, as electioncode.Tally keeps them.
template <typename Device> bool replay_tally(Device& device, const Record& r) {
    const size_t n = r.size(0), d = r.size(1), bytes = num_words(d) * sizeof(Word);
    std::vector<std::vector<Block>> planes(16);
    const auto add = [&](const Voter& v, DotKind kind, size_t plane) {
        std::vector<Word*> sums;
        std::vector<const Word*> pending;
        size_t top = plane;
        for (; planes[top].size() == 2; ++top) {
            sums.push_back(planes[top][0].as<Word>());
            pending.push_back(planes[top][1].as<Word>());
        }
        Block rest(bytes);
        const Dot source{v.words, v.mask, kind, 0};
        device.accumulate({source, sums.size(), sums.data(), pending.data(), rest.as<Word>(), d});
        for (size_t p = plane; p < top; ++p) planes[p].pop_back();
        planes[top].push_back(std::move(rest));
    };
    for (const Voter& v : voters_of(r.arrays[0].as<Word>(), r.arrays[1].as<Word>(), n, d)) {
        add(v, DotKind::kRow, v.mask ? 0 : 1);
        if (v.mask) add(v, DotKind::kRowOrNotMask, 0);
    }
    std::vector<Dot> dots;
    for (size_t p = 0; p < planes.size(); ++p)
        for (const Block& row : planes[p])
            dots.push_back({row.as<Word>(), nullptr, DotKind::kRow, static_cast<int>(p)});
    Block winner(r.arrays[2].size), voted(r.arrays[3].size), total(r.arrays[4].size);
    const RandomStream random{r.key(3), r.key(4), 0, 0};
    const auto tie = static_cast<Tie>(r.integers[2]);
    device.majority_of_counters(dots, 2 * n, {tie, random, d, winner.as<Word>(), voted.as<Word>()});
    device.margin({dots.data(), dots.size(), static_cast<int64_t>(n), d, total.as<int32_t>()});
    return winner == r.arrays[2] && voted == r.arrays[3] && total == r.arrays[4];
}

template <typename Device> bool replay(Device& device, const Record& r) {
    switch (r.operation) {
        case kPack: return replay_pack(device, r);
        case kMomentum: return replay_momentum(device, r);
        case kUnpack: return replay_unpack(device, r);
        case kUpdate: return replay_update(device, r);
        case kMajority: return replay_majority(device, r);
        case kCoded: return replay_coded(device, r);
        case kTally: return replay_tally(device, r);
        default: return device.other(r);
    }
}

// Replay all records, say which differ, count the operations, and return how many differ.
template <typename Device>
int replay_all(const char* name, const std::vector<Record>& records, int (&counts)[kOperations]) {
    int failed = 0;
    for (size_t i = 0; i < records.size(); ++i) {
        Device device;
        ++counts[records[i].operation];
        if (replay(device, records[i])) continue;
        ++failed;
        std::printf("%s: record %zu (%s) differs\n", name, i, kNames[records[i].operation]);
    }
    return failed;
}

inline void print_counts(const char* name, const int (&counts)[kOperations]) {
    std::printf("%s:", name);
    for (int op = 0; op < kOperations; ++op) std::printf(" %s %d", kNames[op], counts[op]);
    std::printf("\n");
}

// Run the test on the records of a file and return the exit status; run(records) gives the number of failures.
template <typename Run> int main_of(int argc, char** argv, Run run) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: %s RECORDS\n", argv[0]);
        return 2;
    }
    const int failed = run(read_records(argv[1]));
    std::printf("%s\n", failed ? "FAILED" : "all equal");
    return failed ? 1 : 0;
}

}  // namespace electioncode
