// Replays recorded calls on every row of the dispatch table and compares with the recorded results: see README.md.
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "../cpu/code_votes.h"
#include "../cpu/dispatch.h"
#include "../cpu/ops.h"
#include "../cpu/thread_pool.h"
#include "records.h"

namespace electioncode {
namespace {

std::vector<Voter> voters_of(const Block& words, const Block& mask, std::size_t n, std::size_t d) {
    std::vector<Voter> voters;
    for (std::size_t i = 0; i < n; ++i)
        voters.push_back({words.as<Word>(i * num_words(d)), mask.as<Word>(i * num_words(d)), 1});
    return voters;
}

bool replay_pack(const Record& r) {
    const std::size_t d = r.size(1);
    Block words(r.arrays[1].size), mask(r.arrays[2].size);
    const RandomStream random{r.key(4), r.key(5), r.key(6), 1};
    pack({{r.arrays[0].data.get(), nullptr, static_cast<Dtype>(r.integers[0]), d, 0, 0, false,
           static_cast<Zero>(r.integers[2]), static_cast<Nan>(r.integers[3]), random, 0, words.as<Word>(), mask.as<Word>(), 0}});
    return words == r.arrays[1] && mask == r.arrays[2];
}

bool replay_momentum(const Record& r) {
    Block v(r.arrays[1]), words(r.arrays[2].size);
    PackJob job{r.arrays[0].data.get(), v.data.get(), static_cast<Dtype>(r.integers[0]), r.size(1), r.real(2), r.real(3), false, Zero::kPlus,
                Nan::kRaise, {}, 0, words.as<Word>(), nullptr, 0};
    if (r.integers.size() > 4) job.split = true, job.split_beta = r.real(4), job.split_weight = r.real(5);
    pack({job});
    return words == r.arrays[2] && v == r.arrays[3];
}

bool replay_unpack(const Record& r) {
    Block out(r.arrays[2].size);
    unpack({r.arrays[0].as<Word>(), r.arrays[1].as<Word>(), r.size(1), static_cast<Dtype>(r.integers[0]), out.data.get()});
    return out == r.arrays[2];
}

bool replay_update(const Record& r) {
    Block p(r.arrays[0]);
    update({{p.data.get(), static_cast<Dtype>(r.integers[0]), r.size(1), r.real(2), r.real(3), r.arrays[1].as<Word>(), r.arrays[2].as<Word>()}});
    return p == r.arrays[3];
}

bool replay_majority(const Record& r) {
    const std::size_t n = r.size(0), d = r.size(1);
    std::vector<Voter> voters = voters_of(r.arrays[0], r.arrays[1], n, d);
    for (std::size_t i = 0; i < n; ++i) voters[i].weight = *r.arrays[2].as<std::int64_t>(i);
    Block winner(r.arrays[3].size), voted(r.arrays[4].size);
    const Decision decision{static_cast<Tie>(r.integers[2]), {r.key(3), r.key(4), 0, 0}, d, winner.as<Word>(), voted.as<Word>()};
    majority(voters, decision);
    const Voter result{winner.as<Word>(), voted.as<Word>(), 1};
    const std::vector<std::int64_t> expected(r.arrays[5].as<std::int64_t>(), r.arrays[5].as<std::int64_t>(n));
    bool good = winner == r.arrays[3] && voted == r.arrays[4] && disagreement(voters, result, d) == expected;
    std::vector<std::int64_t> fused;
    majority(voters, decision, &fused);
    return good && winner == r.arrays[3] && fused == expected;
}

bool replay_coded(const Record& r) {
    const std::size_t n = r.size(0), k = r.size(1), d = r.size(2);
    CodedVote vote{voters_of(r.arrays[0], r.arrays[1], k, d), {{0}, {}}, static_cast<Tie>(r.integers[3]), {r.key(4), r.key(5), 1, 0}, d};
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < k; ++j)
            if (*r.arrays[2].as<std::uint8_t>(i * k + j)) vote.code.members.push_back(j);
        vote.code.first.push_back(vote.code.members.size());
    }
    Block local(r.arrays[3].size), local_mask(r.arrays[4].size), winner(r.arrays[5].size), voted(r.arrays[6].size);
    std::vector<Word*> rows, masks;
    for (std::size_t i = 0; i < n; ++i) {
        rows.push_back(local.as<Word>(i * num_words(d)));
        if (local_mask.size) masks.push_back(local_mask.as<Word>(i * num_words(d)));
    }
    local_majorities(vote, rows, masks);
    coded_majority(vote, {vote.tie, {r.key(4), r.key(5), 0, 0}, d, winner.as<Word>(), voted.as<Word>()});
    return local == r.arrays[3] && local_mask == r.arrays[4] && winner == r.arrays[5] && voted == r.arrays[6];
}

// The votes one by one into carry-save counters, as electioncode.Tally keeps them.
bool replay_tally(const Record& r) {
    const std::size_t n = r.size(0), d = r.size(1), bytes = num_words(d) * sizeof(Word);
    std::vector<std::vector<Block>> planes(16);
    const auto add = [&](const Voter& v, DotKind kind, std::size_t plane) {
        std::vector<Word*> sums;
        std::vector<const Word*> pending;
        std::size_t top = plane;
        for (; planes[top].size() == 2; ++top) {
            sums.push_back(planes[top][0].as<Word>());
            pending.push_back(planes[top][1].as<Word>());
        }
        Block rest(bytes);
        accumulate({{v.words, v.mask, kind, 0}, 0, sums.size(), sums.data(), pending.data(), rest.as<Word>(), d});
        for (std::size_t p = plane; p < top; ++p) planes[p].pop_back();
        planes[top].push_back(std::move(rest));
    };
    for (const Voter& v : voters_of(r.arrays[0], r.arrays[1], n, d)) {
        add(v, DotKind::kRow, v.mask ? 0 : 1);
        if (v.mask) add(v, DotKind::kRowOrNotMask, 0);
    }
    std::vector<Dot> dots;
    for (std::size_t p = 0; p < planes.size(); ++p)
        for (const Block& row : planes[p]) dots.push_back({row.as<Word>(), nullptr, DotKind::kRow, static_cast<int>(p)});
    Block winner(r.arrays[2].size), voted(r.arrays[3].size), total(r.arrays[4].size);
    majority_of_counters(dots, 2 * n, {static_cast<Tie>(r.integers[2]), {r.key(3), r.key(4), 0, 0}, d, winner.as<Word>(), voted.as<Word>()});
    margin({dots.data(), dots.size(), static_cast<std::int64_t>(n), d, total.as<std::int32_t>()});
    return winner == r.arrays[2] && voted == r.arrays[3] && total == r.arrays[4];
}

bool replay(const Record& r) {
    switch (r.operation) {
        case kPack: return replay_pack(r);
        case kMomentum: return replay_momentum(r);
        case kUnpack: return replay_unpack(r);
        case kUpdate: return replay_update(r);
        case kMajority: return replay_majority(r);
        case kCoded: return replay_coded(r);
        case kTally: return replay_tally(r);
        case kRandomWords: {
            Block out(r.arrays[0].size);
            random_words({r.key(1), r.key(2), r.key(3), r.key(4)}, out.as<Word>(), r.size(0));
            return out == r.arrays[0];
        }
        case kChecksum: return checksum(r.arrays[0].as<Word>(), r.size(0)) == *r.arrays[1].as<Word>();
        default: throw std::runtime_error("unknown operation in the record");
    }
}

// One vote large enough for the pool, from several callers at once: what ThreadSanitizer is for.
bool vote_from_many_threads() {
    constexpr std::size_t kD = 3'000'000, kN = 5;
    std::vector<std::vector<Word>> rows(kN, std::vector<Word>(num_words(kD)));
    for (std::size_t i = 0; i < kN; ++i) random_words({1, 2, static_cast<std::uint32_t>(i), 3}, rows[i].data(), kD / kWordBits);
    std::vector<Voter> voters;
    for (const auto& row : rows) voters.push_back({row.data(), nullptr, 1});
    const auto vote = [&] {
        std::vector<Word> out(num_words(kD));
        majority(voters, {Tie::kPlus, {}, kD, out.data(), nullptr});
        return out;
    };
    const std::vector<Word> expected = vote();
    std::vector<int> good(4, 0);
    std::vector<std::thread> callers;
    for (int& g : good)
        callers.emplace_back([&] {
            for (int i = 0; i < 5; ++i) g += vote() == expected;
        });
    for (std::thread& t : callers) t.join();
    for (const int g : good)
        if (g != 5) return false;
    return true;
}

}  // namespace
}  // namespace electioncode

int main(int argc, char** argv) {
    using namespace electioncode;
    if (argc != 2) {
        std::fprintf(stderr, "usage: replay RECORDS\n");
        return 2;
    }
    const std::vector<Record> records = read_records(argv[1]);
    int failed = 0;
    for (const InstructionSet& row : instruction_sets()) {
        if (!row.available) {
            std::printf("%s: not on this CPU\n", row.kernels->name);
            continue;
        }
        set_instruction_set(row.kernels->name);
        int counts[kOperations] = {};
        for (const int threads : {1, 3}) {
            set_num_threads(threads);
            for (std::size_t i = 0; i < records.size(); ++i) {
                ++counts[records[i].operation];
                if (replay(records[i])) continue;
                ++failed;
                std::printf("%s: record %zu (%s) differs\n", row.kernels->name, i, kNames[records[i].operation]);
            }
            if (!vote_from_many_threads()) {
                ++failed;
                std::printf("%s: a vote from many threads differs\n", row.kernels->name);
            }
        }
        std::printf("%s:", row.kernels->name);
        for (int op = 0; op < kOperations; ++op) std::printf(" %s %d", kNames[op], counts[op]);
        std::printf("\n");
    }
    std::printf("%s\n", failed ? "FAILED" : "all equal");
    return failed ? 1 : 0;
}
