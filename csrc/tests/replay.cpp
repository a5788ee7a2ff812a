// Replays recorded calls on every row of the dispatch table: see README.md.
#include "replay.h"

#include <thread>

#include "../cpu/code_votes.h"
#include "../cpu/dispatch.h"
#include "../cpu/ops.h"
#include "../cpu/thread_pool.h"

namespace electioncode {
namespace {

struct Cpu {
    bool pack(const PackJob& job) { return electioncode::pack({job}); }
    void unpack(const UnpackJob& job) { electioncode::unpack(job); }
    void update(const UpdateJob& job) { electioncode::update({job}); }
    void majority(const std::vector<Voter>& voters, const Decision& to) { electioncode::majority(voters, to); }
    std::vector<int64_t> majority_and_disagreement(const std::vector<Voter>& voters, const Decision& to) {
        std::vector<int64_t> differences;
        electioncode::majority(voters, to, &differences);
        return differences;
    }
    std::vector<int64_t> disagreement(const std::vector<Voter>& voters, const Voter& winner, size_t d) {
        return electioncode::disagreement(voters, winner, d);
    }
    CodedVote coded(const RecordedCode& r) {
        return {voters_of(r.words, r.mask, r.partitions, r.d), r.code, r.tie, r.random, r.d};
    }
    void local_majorities(const RecordedCode& r, Word* out, Word* out_mask) {
        std::vector<Word*> rows, masks;
        for (size_t i = 0; i < r.code.num_workers(); ++i) {
            rows.push_back(out + i * num_words(r.d));
            if (out_mask) masks.push_back(out_mask + i * num_words(r.d));
        }
        electioncode::local_majorities(coded(r), rows, masks);
    }
    void coded_majority(const RecordedCode& r, const Decision& to) { electioncode::coded_majority(coded(r), to); }
    void accumulate(const AccumulateJob& job) { electioncode::accumulate(job); }
    void majority_of_counters(const std::vector<Dot>& dots, uint64_t maximum, const Decision& to) {
        electioncode::majority_of_counters(dots, maximum, to);
    }
    void margin(const MarginJob& job) { electioncode::margin(job); }
    bool other(const Record& r) {
        if (r.operation == kChecksum) return checksum(r.arrays[0].as<Word>(), r.size(0)) == *r.arrays[1].as<Word>();
        Block out(r.arrays[0].size);
        random_words({r.key(1), r.key(2), r.key(3), r.key(4)}, out.as<Word>(), r.size(0));
        return out == r.arrays[0];
    }
};

// Make one vote large enough for the pool from several callers at once: what ThreadSanitizer is for.
bool vote_from_many_threads() {
    constexpr size_t kD = 3'000'000, kN = 5;
    std::vector<std::vector<Word>> rows(kN, std::vector<Word>(num_words(kD)));
    for (uint32_t i = 0; i < kN; ++i) random_words({1, 2, i, 3}, rows[i].data(), kD / kWordBits);
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
    return good == std::vector<int>(4, 5);
}

int run(const std::vector<Record>& records) {
    int failed = 0;
    for (const InstructionSet& row : instruction_sets()) {
        const char* name = row.kernels->name;
        if (!row.available) {
            std::printf("%s: not on this CPU\n", name);
            continue;
        }
        set_instruction_set(name);
        int counts[kOperations] = {};
        for (const int threads : {1, 3}) {
            set_num_threads(threads);
            failed += replay_all<Cpu>(name, records, counts);
            if (vote_from_many_threads()) continue;
            ++failed;
            std::printf("%s: a vote from many threads differs\n", name);
        }
        print_counts(name, counts);
    }
    return failed;
}

}  // namespace
}  // namespace electioncode

int main(int argc, char** argv) { return electioncode::main_of(argc, argv, electioncode::run); }
