#include "ops.h"

#include <algorithm>
#include <atomic>
#include <memory>

#include "dispatch.h"
#include "../plan/plan.h"
#include "thread_pool.h"

namespace electioncode {

namespace {

std::size_t element_bytes(Dtype dtype) {
    switch (dtype) {
        case Dtype::kFloat64: return 8;
        case Dtype::kFloat32: return 4;
        case Dtype::kInt8: return 1;
        default: return 2;
    }
}

// Runs kernel(job, begin, end) over the words of all jobs, laid end to end.
template <typename Job, typename Kernel>
void for_jobs(const std::vector<Job>& jobs, std::size_t bytes, Kernel kernel) {
    std::vector<std::size_t> first(jobs.size() + 1, 0);
    for (std::size_t j = 0; j < jobs.size(); ++j) first[j + 1] = first[j] + num_words(jobs[j].d);
    parallel_for(first.back(), threads_for(bytes), [&](int, std::size_t begin, std::size_t end) {
        std::size_t j = static_cast<std::size_t>(std::upper_bound(first.begin(), first.end(), begin) - first.begin()) - 1;
        for (; j < jobs.size() && first[j] < end; ++j)
            kernel(jobs[j], std::max(begin, first[j]) - first[j], std::min(end, first[j + 1]) - first[j]);
    });
}

bool streams(std::size_t d) { return num_words(d) * sizeof(Word) >= kStreamBytes; }

void run_vote(const Plan& plan, const Decision& decision) {
    VoteJob job = plan.job(decision);
    job.streams = streams(decision.d);
    const int participants = threads_for((plan.dots.size() + 1) * num_words(decision.d) * sizeof(Word));
    Word* scratch = scratch_words(static_cast<std::size_t>(participants) * kVoteScratchWords);
    const KernelTable& table = kernels();
    parallel_for(num_words(decision.d), participants, [&](int i, std::size_t begin, std::size_t end) {
        table.vote(job, scratch + static_cast<std::size_t>(i) * kVoteScratchWords, begin, end);
    });
}

}  // namespace

bool any_masked(const std::vector<Voter>& voters) {
    return std::any_of(voters.begin(), voters.end(), [](const Voter& v) { return v.mask != nullptr; });
}

// Turns voters into dots. Without masks the count of votes decides: weight * bit, complemented for a negative weight.
// With masks each voter puts weight * (1 + sign): its vote, and "not a vote against".
Plan plan_vote(const std::vector<Voter>& voters) {
    const bool masked = any_masked(voters);
    Plan plan;
    for (const Voter& v : voters) {
        const std::uint64_t weight = static_cast<std::uint64_t>(v.weight < 0 ? -v.weight : v.weight);
        const DotKind vote = v.weight < 0 ? DotKind::kNotRow : DotKind::kRow;
        plan.maximum += (masked ? 2 : 1) * weight;
        for (int plane = 0; weight >> plane; ++plane) {
            if (!((weight >> plane) & 1)) continue;
            if (v.mask) {
                const DotKind against = v.weight < 0 ? DotKind::kMaskAndNotRow : DotKind::kRowOrNotMask;
                plan.dots.push_back({v.words, v.mask, vote, plane});
                plan.dots.push_back({v.words, v.mask, against, plane});
            } else {
                plan.dots.push_back({v.words, nullptr, vote, plane + (masked ? 1 : 0)});
            }
        }
    }
    std::stable_sort(plan.dots.begin(), plan.dots.end(), [](const Dot& a, const Dot& b) { return a.plane < b.plane; });
    plan.plain = std::all_of(plan.dots.begin(), plan.dots.end(), [](const Dot& d) { return d.kind == DotKind::kRow && d.plane == 0; });
    return plan;
}

Word* scratch_words(std::size_t n) {
    struct Free {
        void operator()(Word* p) const { ::operator delete[](p, std::align_val_t{64}); }
    };
    thread_local std::unique_ptr<Word[], Free> buffer;
    thread_local std::size_t size = 0;
    if (n > size) {
        buffer.reset();
        size = 0;  // in case the next line throws
        buffer.reset(new (std::align_val_t{64}) Word[n]);
        size = n;
    }
    return buffer.get();
}

bool pack(const std::vector<PackJob>& jobs) {
    std::size_t bytes = 0;
    for (const PackJob& job : jobs) bytes += job.d * element_bytes(job.dtype) * (job.v ? 3 : 1);
    std::atomic<bool> nan{false};
    const KernelTable& table = kernels();
    for_jobs(jobs, bytes, [&](const PackJob& job, std::size_t begin, std::size_t end) {
        if (table.pack(job, begin, end)) nan.store(true, std::memory_order_relaxed);
    });
    return nan.load();
}

void unpack(UnpackJob job) {
    const std::size_t bytes = job.d * element_bytes(job.dtype);
    job.streams = bytes >= kStreamBytes;
    const KernelTable& table = kernels();
    parallel_for(num_words(job.d), threads_for(bytes),
                 [&](int, std::size_t begin, std::size_t end) { table.unpack(job, begin, end); });
}

void update(const std::vector<UpdateJob>& jobs) {
    std::size_t bytes = 0;
    for (const UpdateJob& job : jobs) bytes += 2 * job.d * element_bytes(job.dtype);
    const KernelTable& table = kernels();
    for_jobs(jobs, bytes, [&](const UpdateJob& job, std::size_t begin, std::size_t end) { table.update(job, begin, end); });
}

void majority(const std::vector<Voter>& voters, const Decision& decision, std::vector<std::int64_t>* differences) {
    const Plan plan = plan_vote(voters);
    if (!differences) return run_vote(plan, decision);
    if (!plan.plain) {  // weights or masks: what is counted is not the voters' rows
        run_vote(plan, decision);
        *differences = disagreement(voters, {decision.out, decision.out_mask, 1}, decision.d);
        return;
    }
    const std::size_t words = num_words(decision.d), n = voters.size();
    const int participants = threads_for((n + 1) * words * sizeof(Word));
    std::vector<std::uint64_t> counts(static_cast<std::size_t>(participants) * n, 0);
    Word* scratch = scratch_words(static_cast<std::size_t>(participants) * kVoteScratchWords);
    const KernelTable& table = kernels();
    parallel_for(words, participants, [&](int i, std::size_t begin, std::size_t end) {
        VoteJob job = plan.job(decision);
        job.streams = streams(decision.d);
        job.differences = counts.data() + static_cast<std::size_t>(i) * n;
        table.vote(job, scratch + static_cast<std::size_t>(i) * kVoteScratchWords, begin, end);
    });
    differences->assign(n, 0);
    for (std::size_t i = 0; i < counts.size(); ++i) (*differences)[i % n] += static_cast<std::int64_t>(counts[i]);
}

void majority_of_counters(const std::vector<Dot>& dots, std::uint64_t maximum, const Decision& decision) {
    run_vote(Plan{dots, maximum, false}, decision);
}

void margin(const MarginJob& job) {
    const KernelTable& table = kernels();
    parallel_for(num_words(job.d), threads_for(job.d * sizeof(std::int32_t)),
                 [&](int, std::size_t begin, std::size_t end) { table.margin(job, begin, end); });
}

void accumulate(const AccumulateJob& job) {
    const KernelTable& table = kernels();
    parallel_for(num_words(job.d), threads_for((3 * job.num_levels + 2) * num_words(job.d) * sizeof(Word)),
                 [&](int, std::size_t begin, std::size_t end) { table.accumulate(job, begin, end); });
}

std::vector<std::int64_t> disagreement(const std::vector<Voter>& voters, const Voter& winner, std::size_t d) {
    constexpr std::size_t kTile = 8192;  // words: the winner's stay in the cache while the voters stream by
    std::vector<std::int64_t> total(voters.size(), 0);
    const int participants = threads_for((voters.size() + 1) * num_words(d) * sizeof(Word));
    std::vector<std::vector<std::int64_t>> part(static_cast<std::size_t>(participants), total);
    const KernelTable& table = kernels();
    parallel_for(num_words(d), participants, [&](int i, std::size_t begin, std::size_t end) {
        std::vector<std::int64_t>& counts = part[static_cast<std::size_t>(i)];
        for (std::size_t w = begin; w < end; w += kTile)
            for (std::size_t v = 0; v < voters.size(); ++v)
                counts[v] += static_cast<std::int64_t>(
                    table.differences({voters[v].words, winner.words, voters[v].mask, winner.mask}, w, std::min(end, w + kTile)));
    });
    for (const auto& counts : part)
        for (std::size_t v = 0; v < voters.size(); ++v) total[v] += counts[v];
    return total;
}

void random_words(const RandomStream& stream, Word* out, std::size_t n) {
    const KernelTable& table = kernels();
    parallel_for(n, threads_for(n * sizeof(Word) * 4),
                 [&](int, std::size_t begin, std::size_t end) { table.random(stream, out + begin, begin, end); });
}

std::uint64_t checksum(const Word* words, std::size_t n) {
    std::atomic<std::uint64_t> total{0};
    const KernelTable& table = kernels();
    parallel_for(n, threads_for(n * sizeof(Word)), [&](int, std::size_t begin, std::size_t end) {
        total.fetch_add(table.checksum(words, begin, end), std::memory_order_relaxed);
    });
    return total.load();
}

Word read_only(const Word* words, std::size_t n) {
    std::atomic<Word> total{0};
    const KernelTable& table = kernels();
    parallel_for(n, threads_for(n * sizeof(Word)), [&](int, std::size_t begin, std::size_t end) {
        total.fetch_xor(table.read_only(words, begin, end), std::memory_order_relaxed);
    });
    return total.load();
}

void copy(const Word* from, Word* to, std::size_t n) {
    const KernelTable& table = kernels();
    parallel_for(n, threads_for(2 * n * sizeof(Word)),
                 [&](int, std::size_t begin, std::size_t end) { table.copy(from, to, begin, end); });
}

void rewrite(const Word* from, Word* to, std::size_t n) {
    const KernelTable& table = kernels();
    parallel_for(n, threads_for(3 * n * sizeof(Word)),
                 [&](int, std::size_t begin, std::size_t end) { table.rewrite(from, to, begin, end); });
}

}  // namespace electioncode
