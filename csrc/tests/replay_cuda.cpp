// Replays recorded calls on the CUDA kernels built for the CPU: see README.md.
#include "replay.h"

#include "../cuda/ops.h"

namespace electioncode {
namespace {

struct EmulatedCuda {
    // Scratch as the device would give it: of exactly the size asked for, and gone after the record.
    std::vector<Block> scratch;
    cuda::Queue queue{0, nullptr, [this](size_t bytes) -> void* { return scratch.emplace_back(bytes).data.get(); }};

    bool pack(const PackJob& job) {
        int nan = 0;
        cuda::pack({job}, nullptr, &nan, queue);
        return nan != 0;
    }
    void unpack(const UnpackJob& job) { cuda::unpack({job}, queue); }
    void update(const UpdateJob& job) { cuda::update({job}, queue); }
    void majority(const std::vector<Voter>& voters, const Decision& to) { cuda::majority(voters, to, queue); }
    std::vector<int64_t> majority_and_disagreement(const std::vector<Voter>& voters, const Decision& to) {
        majority(voters, to);
        return disagreement(voters, {to.out, to.out_mask, 1}, to.d);
    }
    std::vector<int64_t> disagreement(const std::vector<Voter>& voters, const Voter& winner, size_t d) {
        std::vector<int64_t> counts(voters.size(), 0);
        cuda::disagreement(voters, winner, d, counts.data(), queue);
        return counts;
    }
    cuda::CodedVote coded(const RecordedCode& r) {
        return {{r.words, r.mask, r.partitions, num_words(r.d), num_words(r.d)}, r.code, r.tie, r.random, r.d};
    }
    void local_majorities(const RecordedCode& r, Word* out, Word* out_mask) {
        cuda::local_majorities(coded(r), out, num_words(r.d), out_mask, num_words(r.d), queue);
    }
    void coded_majority(const RecordedCode& r, const Decision& to) { cuda::coded_majority(coded(r), to, queue); }
    void accumulate(const AccumulateJob& job) { cuda::accumulate(job, queue); }
    void majority_of_counters(const std::vector<Dot>& dots, uint64_t maximum, const Decision& to) {
        cuda::majority_of_counters(dots, maximum, to, queue);
    }
    void margin(const MarginJob& job) { cuda::margin(job, queue); }
    bool other(const Record&) { return true; }  // random words and checksums are the CPU's alone
};

int run(const std::vector<Record>& records) {
    int counts[kOperations] = {};
    const int failed = replay_all<EmulatedCuda>("cuda, emulated", records, counts);
    print_counts("cuda, emulated", counts);
    return failed;
}

}  // namespace
}  // namespace electioncode

int main(int argc, char** argv) { return electioncode::main_of(argc, argv, electioncode::run); }
