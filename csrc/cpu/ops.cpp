#include "ops.h"

#include <algorithm>
#include <atomic>
#include <memory>

#include "dispatch.h"
#include "thread_pool.h"

namespace electioncode {
namespace {

// Run work(kernels, begin, end) over words, with as many threads as the bytes of memory traffic are worth.
template <typename Work> void over_words(size_t words, size_t bytes, Work work) {
    const KernelTable& table = kernels();
    parallel_for(words, threads_for(bytes), [&](size_t, size_t begin, size_t end) { work(table, begin, end); });
}

// Run one kernel over words.
template <typename Kernel, typename... Args>
void run(Kernel KernelTable::* kernel, size_t words, size_t bytes, const Args&... args) {
    over_words(words, bytes,
               [&](const KernelTable& table, size_t begin, size_t end) { (table.*kernel)(args..., begin, end); });
}

// Run work(kernels, job, begin, end) over the words of all jobs, laid end to end.
template <typename Job, typename Work> void over_jobs(const std::vector<Job>& jobs, size_t bytes, Work work) {
    std::vector<size_t> first(jobs.size() + 1, 0);
    for (size_t j = 0; j < jobs.size(); ++j) first[j + 1] = first[j] + num_words(jobs[j].d);
    over_words(first.back(), bytes, [&](const KernelTable& table, size_t begin, size_t end) {
        const auto next = std::upper_bound(first.begin(), first.end(), begin);
        for (size_t j = static_cast<size_t>(next - first.begin()) - 1; j < jobs.size() && first[j] < end; ++j)
            work(table, jobs[j], std::max(begin, first[j]) - first[j], std::min(end, first[j + 1]) - first[j]);
    });
}

// Run a vote; differences, if any, has num_dots counts per participant.
void run_vote(VoteJob job, std::vector<uint64_t>* differences = nullptr) {
    const size_t words = num_words(job.d), participants = threads_for((job.num_dots + 1) * words * sizeof(Word));
    job.streams = words * sizeof(Word) >= kStreamBytes;
    if (differences) differences->assign(participants * job.num_dots, 0);
    Word* scratch = scratch_words(participants * kVoteScratchWords);
    const KernelTable& table = kernels();
    parallel_for(words, participants, [&](size_t i, size_t begin, size_t end) {
        VoteJob mine = job;
        if (differences) mine.differences = differences->data() + i * job.num_dots;
        table.vote(mine, scratch + i * kVoteScratchWords, begin, end);
    });
}

}  // namespace

VoteJob job_of(const Plan& plan, const Decision& decision) {
    return {plan.dots.data(), plan.dots.size(),  plan.plain, plan.maximum, decision.tie, decision.random, decision.d, 0,
            decision.out,     decision.out_mask, 0,          nullptr,      false};
}

Word* scratch_words(size_t n) {
    struct Free {
        void operator()(Word* p) const { ::operator delete[](p, std::align_val_t{64}); }
    };
    thread_local std::unique_ptr<Word[], Free> buffer;
    thread_local size_t size = 0;
    if (n > size) {
        buffer.reset();
        size = 0;  // in case the next line throws
        buffer.reset(new (std::align_val_t{64}) Word[n]);
        size = n;
    }
    return buffer.get();
}

bool pack(const std::vector<PackJob>& jobs) {
    size_t bytes = 0;
    for (const PackJob& job : jobs) bytes += job.d * element_bytes(job.dtype) * (job.v ? 3 : 1);
    std::atomic<bool> nan{false};
    over_jobs(jobs, bytes, [&](const KernelTable& table, const PackJob& job, size_t begin, size_t end) {
        if (table.pack(job, begin, end)) nan.store(true, std::memory_order_relaxed);
    });
    return nan.load();
}

void unpack(UnpackJob job) {
    const size_t bytes = job.d * element_bytes(job.dtype);
    job.streams = bytes >= kStreamBytes;
    run(&KernelTable::unpack, num_words(job.d), bytes, job);
}

void update(const std::vector<UpdateJob>& jobs) {
    size_t bytes = 0;
    for (const UpdateJob& job : jobs) bytes += 2 * job.d * element_bytes(job.dtype);
    over_jobs(jobs, bytes, [&](const KernelTable& table, const UpdateJob& job, size_t begin, size_t end) {
        table.update(job, begin, end);
    });
}

void majority(const std::vector<Voter>& voters, const Decision& decision, std::vector<int64_t>* differences) {
    const Plan plan = plan_vote(voters);
    if (!differences) return run_vote(job_of(plan, decision));
    if (!plan.plain || plan.dots.size() != voters.size()) {  // what is counted is not the voters' rows
        run_vote(job_of(plan, decision));
        *differences = disagreement(voters, {decision.out, decision.out_mask, 1}, decision.d);
        return;
    }
    std::vector<uint64_t> counts;
    run_vote(job_of(plan, decision), &counts);
    differences->assign(voters.size(), 0);
    for (size_t i = 0; i < counts.size(); ++i) (*differences)[i % voters.size()] += static_cast<int64_t>(counts[i]);
}

void majority_of_counters(const std::vector<Dot>& dots, uint64_t maximum, const Decision& decision) {
    run_vote(job_of({dots, maximum, false}, decision));
}

void margin(const MarginJob& job) { run(&KernelTable::margin, num_words(job.d), job.d * sizeof(int32_t), job); }

void accumulate(const AccumulateJob& job) {
    const size_t words = num_words(job.d);
    run(&KernelTable::accumulate, words, (3 * job.num_levels + 2) * words * sizeof(Word), job);
}

std::vector<int64_t> disagreement(const std::vector<Voter>& voters, const Voter& winner, size_t d) {
    constexpr size_t kTile = 8192;  // words: the winner's stay in the cache while the voters stream by
    const size_t n = voters.size(), words = num_words(d);
    const size_t participants = threads_for((n + 1) * words * sizeof(Word));
    std::vector<std::vector<int64_t>> parts(participants, std::vector<int64_t>(n, 0));
    const KernelTable& table = kernels();
    parallel_for(words, participants, [&](size_t i, size_t begin, size_t end) {
        for (size_t w = begin; w < end; w += kTile)
            for (size_t v = 0; v < n; ++v) {
                const DifferenceJob job{voters[v].words, winner.words, voters[v].mask, winner.mask};
                parts[i][v] += static_cast<int64_t>(table.differences(job, w, std::min(end, w + kTile)));
            }
    });
    for (size_t i = 1; i < participants; ++i)
        for (size_t v = 0; v < n; ++v) parts[0][v] += parts[i][v];
    return parts[0];
}

void random_words(const RandomStream& stream, Word* out, size_t n) {
    over_words(n, 4 * n * sizeof(Word), [&](const KernelTable& table, size_t begin, size_t end) {
        table.random_words(stream, out + begin, begin, end);
    });
}

uint64_t checksum(const Word* words, size_t n) {
    std::atomic<uint64_t> total{0};
    over_words(n, n * sizeof(Word), [&](const KernelTable& table, size_t begin, size_t end) {
        total.fetch_add(table.checksum(words, begin, end), std::memory_order_relaxed);
    });
    return total.load();
}

Word read_only(const Word* words, size_t n) {
    std::atomic<Word> total{0};
    over_words(n, n * sizeof(Word), [&](const KernelTable& table, size_t begin, size_t end) {
        total.fetch_xor(table.read_words(words, begin, end), std::memory_order_relaxed);
    });
    return total.load();
}

void copy(const Word* from, Word* to, size_t n) { run(&KernelTable::copy_words, n, 2 * n * sizeof(Word), from, to); }

void rewrite(const Word* from, Word* to, size_t n) {
    run(&KernelTable::rewrite_words, n, 3 * n * sizeof(Word), from, to);
}

}  // namespace electioncode
