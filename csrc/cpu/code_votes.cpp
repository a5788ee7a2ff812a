#include "code_votes.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "../plan/message_order.h"
#include "dispatch.h"
#include "thread_pool.h"

namespace electioncode {
namespace {

constexpr size_t kCountedRows = (size_t{1} << kMaxChainPlanes) - 1;
constexpr size_t kCacheWords = size_t{1} << 15;  // 256 KiB: partitions' and workers' rows of one tile

// The messages in the order in which one kernel computes them all: alone, or as chains of small changes.
class Program {
public:
    // Return whether the kernel can do it: nobody abstains, and no message draws random bits.
    static bool possible(const CodedVote& vote, const std::vector<Message>& messages) {
        if (any_masked(vote.partitions) || messages.empty() || vote.code.num_workers() > kCountedRows) return false;
        const bool tie_is_fixed = vote.tie == Tie::kPlus || vote.tie == Tie::kMinus;
        return std::all_of(messages.begin(), messages.end(), [&](const Message& m) {
            return m.members.size() <= kCountedRows && (tie_is_fixed || m.members.size() % 2 == 1);
        });
    }

    Program(const CodedVote& vote, const std::vector<Message>& messages) {
        const std::vector<Step> steps = order_messages(messages, kDirectRows);
        const auto add_rows = [&](const Members& members) {
            for (const size_t m : members) rows_.push_back(vote.partitions[m].words);
        };
        // Rows and links first: runs point into them.
        for (const Step& step : steps) {
            add_rows(step.continues ? step.added : messages[step.message].members);
            add_rows(step.removed);
            if (step.continues)
                links_.push_back(
                    {static_cast<uint32_t>(step.added.size()), static_cast<uint32_t>(step.removed.size())});
            workers_.push_back(messages[step.message].workers);
        }
        used_ = rows_;
        std::sort(used_.begin(), used_.end());
        used_.erase(std::unique(used_.begin(), used_.end()), used_.end());

        const Word* const* row = rows_.data();
        const CodedLink* link = links_.data();
        for (size_t s = 0; s < steps.size(); ++s) {
            const size_t size = messages[steps[s].message].members.size();
            if (steps[s].continues) {
                ++runs_.back().messages;
                runs_.back().planes = std::max(runs_.back().planes, bit_length(size));
                row += link->added + link->removed;
                ++link;
                continue;
            }
            const bool chain = size > kDirectRows || (s + 1 < steps.size() && steps[s + 1].continues);
            if (!chain && !runs_.empty() && runs_.back().planes == 0 && runs_.back().size == size)
                ++runs_.back().messages;
            else runs_.push_back({row, 1, size, chain ? bit_length(size) : 0, link});
            row += size;
        }
        job_.runs = runs_.data(), job_.num_runs = runs_.size(), job_.num_messages = workers_.size();
        job_.used = used_.data(), job_.num_used = used_.size();
        job_.ties_plus = vote.tie == Tie::kPlus;
        job_.d = vote.d;
    }
    Program(const Program&) = delete;

    // Store every worker's message; out[i] is worker i's.
    void store(const std::vector<Word*>& out) {
        std::vector<CodedOutput> outputs;
        for (size_t m = 0; m < workers_.size(); ++m)
            for (const size_t worker : workers_[m]) outputs.push_back({m, out[worker]});
        job_.outputs = outputs.data(), job_.num_outputs = outputs.size();
        job_.streams = outputs.size() * num_words(job_.d) * sizeof(Word) >= kStreamBytes;
        run(used_.size() + outputs.size(), message_stride(job_.num_messages) * job_.num_messages);
    }

    // Vote over the messages, none of which is stored.
    void decide(const Decision& decision) {
        size_t unit = 0;  // only the proportion of the workers matters
        for (const auto& workers : workers_) unit = std::gcd(unit, workers.size());
        std::vector<uint32_t> voters;
        for (size_t m = 0; m < workers_.size(); ++m)
            voters.insert(voters.end(), workers_[m].size() / unit, static_cast<uint32_t>(m));
        job_.voters = voters.data(), job_.num_voters = voters.size();
        job_.tie = decision.tie, job_.random = decision.random;
        job_.out = decision.out, job_.out_mask = decision.out_mask;
        const size_t pointers = (voters.size() * sizeof(Word*) + 63) / 64 * 64 / sizeof(Word);
        run(used_.size() + 1, kLineWords * job_.num_messages + pointers);
    }

private:
    void run(size_t rows, size_t scratch) const {
        const size_t words = num_words(job_.d), participants = threads_for(rows * words * sizeof(Word));
        scratch = (scratch + 1023) / 512 * 512;  // a page apart: else one thread prefetches what the other writes
        Word* memory = scratch_words(participants * scratch);
        const KernelTable& table = kernels();
        parallel_for(words, participants, [&](size_t i, size_t begin, size_t end) {
            table.code_votes(job_, memory + i * scratch, begin, end);
        });
    }

    std::vector<const Word*> rows_, used_;
    std::vector<CodedLink> links_;
    std::vector<CodedRun> runs_;
    std::vector<std::vector<size_t>> workers_;  // of each message, in the order of the runs
    CodedJob job_{};
};

// One vote per message, for abstentions and random ties; whoever runs a job sets its `out`.
struct Schedule {
    std::vector<Message> messages;
    std::vector<Plan> plans;
    std::vector<VoteJob> jobs;
    size_t tile;

    Schedule(const CodedVote& vote, std::vector<Message> all) : messages(std::move(all)) {
        plans.reserve(messages.size());
        for (const Message& message : messages) {
            std::vector<Voter> voters;
            for (const size_t m : message.members) voters.push_back(vote.partitions[m]);
            plans.push_back(plan_vote(voters));
            Decision decision{vote.tie, vote.random, vote.d, nullptr, nullptr};
            decision.random.stream += static_cast<uint32_t>(message.workers.front());
            jobs.push_back(job_of(plans.back(), decision));
        }
        const size_t rows = (any_masked(vote.partitions) ? 2 : 1) * (vote.partitions.size() + messages.size()) + 1;
        tile = std::max<size_t>(kCacheWords / rows / 64 * 64, 64);
    }
};

std::vector<Message> messages_of(const CodedVote& vote) {
    return distinct_messages(vote.code, vote.tie, any_masked(vote.partitions));
}

}  // namespace

void local_majorities(const CodedVote& vote, const std::vector<Word*>& out, const std::vector<Word*>& out_mask) {
    std::vector<Message> messages = messages_of(vote);
    const bool possible = Program::possible(vote, messages);
    const bool abstains = vote.tie == Tie::kAbstain && !possible;
    const size_t words = num_words(vote.d);
    for (size_t i = 0; i < out.size(); ++i) {
        const bool idle = vote.code.load(i) == 0;
        if (idle) std::fill_n(out[i], words, Word{0});
        if (out_mask.empty() || (!idle && abstains)) continue;
        for (size_t w = 0; w < words; ++w) out_mask[i][w] = idle ? Word{0} : valid_bits(vote.d, w);
    }
    if (possible) return Program(vote, messages).store(out);

    Schedule schedule(vote, std::move(messages));
    for (size_t m = 0; m < schedule.jobs.size(); ++m) {
        const size_t worker = schedule.messages[m].workers.front();
        schedule.jobs[m].out = out[worker];
        schedule.jobs[m].out_mask = abstains ? out_mask[worker] : nullptr;
    }
    const size_t participants = threads_for((vote.partitions.size() + out.size()) * words * sizeof(Word));
    Word* scratch = scratch_words(participants * kVoteScratchWords);
    const KernelTable& table = kernels();
    parallel_for(words, participants, [&](size_t i, size_t begin, size_t end) {
        for (size_t w = begin; w < end; w += schedule.tile) {
            const size_t stop = std::min(end, w + schedule.tile);
            for (const VoteJob& job : schedule.jobs) table.vote(job, scratch + i * kVoteScratchWords, w, stop);
            for (const Message& message : schedule.messages)
                for (size_t c = 1; c < message.workers.size(); ++c) {
                    const size_t from = message.workers.front(), to = message.workers[c];
                    table.copy_words(out[from], out[to], w, stop);
                    if (!out_mask.empty()) table.copy_words(out_mask[from], out_mask[to], w, stop);
                }
        }
    });
}

void coded_majority(const CodedVote& vote, const Decision& decision) {
    std::vector<Message> messages = messages_of(vote);
    if (Program::possible(vote, messages)) return Program(vote, messages).decide(decision);

    const Schedule schedule(vote, std::move(messages));
    const bool abstains = vote.tie == Tie::kAbstain;
    const size_t words = num_words(vote.d), tile = schedule.tile, rows = schedule.messages.size();
    const size_t part = kVoteScratchWords + 2 * rows * tile;
    const size_t participants = threads_for((vote.partitions.size() + 1) * words * sizeof(Word));
    Word* scratch = scratch_words(participants * part);
    const KernelTable& table = kernels();
    std::vector<std::vector<VoteJob>> jobs(participants, schedule.jobs);
    std::vector<Plan> globals;
    for (size_t i = 0; i < participants; ++i) {
        Word* local = scratch + i * part + kVoteScratchWords;
        std::vector<Voter> voters;
        for (size_t m = 0; m < rows; ++m) {
            const size_t copies = schedule.messages[m].workers.size();
            const Voter voter{local + m * tile, abstains ? local + (rows + m) * tile : nullptr, 1};
            jobs[i][m].out = local + m * tile;
            jobs[i][m].out_mask = abstains ? local + (rows + m) * tile : nullptr;
            // Few voters are counted in registers one by one; of many, equal ones go in once with a weight.
            if (!abstains && vote.code.num_workers() <= kDirectRows) voters.insert(voters.end(), copies, voter);
            else voters.push_back({voter.words, voter.mask, static_cast<int64_t>(copies)});
        }
        globals.push_back(plan_vote(voters));
    }
    parallel_for(words, participants, [&](size_t i, size_t begin, size_t end) {
        Word* mine = scratch + i * part;
        for (size_t w = begin; w < end; w += tile) {
            const size_t stop = std::min(end, w + tile);
            for (VoteJob& job : jobs[i]) {
                job.out_first = w;
                table.vote(job, mine, w, stop);
            }
            VoteJob global = job_of(globals[i], decision);
            global.first_word = w;
            global.d = std::min(decision.d - w * kWordBits, tile * kWordBits);
            global.out = decision.out + w;
            global.out_mask = decision.out_mask ? decision.out_mask + w : nullptr;
            table.vote(global, mine, 0, stop - w);
        }
    });
}

}  // namespace electioncode
