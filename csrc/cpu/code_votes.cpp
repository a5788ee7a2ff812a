#include "code_votes.h"

#include <algorithm>

#include "dispatch.h"
#include "../plan/plan.h"
#include "../plan/message_order.h"
#include "thread_pool.h"

namespace electioncode {

namespace {

constexpr std::size_t kCacheWords = std::size_t{1} << 15;  // 256 KiB: partitions' and workers' rows of one tile

// One vote a message, for abstentions and random ties; `out` of a job is set by whoever runs it.
struct Schedule {
    std::vector<Message> messages;
    std::vector<Plan> plans;
    std::vector<VoteJob> jobs;
    std::size_t tile;

    Schedule(const CodedVote& vote, std::vector<Message> all) : messages(std::move(all)) {
        for (const Message& message : messages) {
            std::vector<Voter> voters;
            for (const std::size_t m : message.members) voters.push_back(vote.partitions[m]);
            plans.push_back(plan_vote(voters));
            Decision decision{vote.tie, vote.random, vote.d, nullptr, nullptr};
            decision.random.stream += static_cast<std::uint32_t>(message.workers.front());
            jobs.push_back(plans.back().job(decision));
        }
        const std::size_t rows = (any_masked(vote.partitions) ? 2 : 1) * (vote.partitions.size() + messages.size()) + 1;
        tile = std::max<std::size_t>(kCacheWords / rows / 64 * 64, 64);
    }
};

}  // namespace

void local_majorities(const CodedVote& vote, const std::vector<Word*>& out, const std::vector<Word*>& out_mask) {
    std::vector<Message> messages = distinct_messages(vote);
    const bool possible = Program::possible(vote, messages);
    const bool abstains = vote.tie == Tie::kAbstain && !possible;
    const std::size_t words = num_words(vote.d);
    for (std::size_t i = 0; i < out.size(); ++i) {
        const bool idle = vote.code.first[i] == vote.code.first[i + 1];
        if (idle) std::fill_n(out[i], words, Word{0});
        if (out_mask.empty() || (!idle && abstains)) continue;
        std::fill_n(out_mask[i], words, idle ? Word{0} : ~Word{0});
        if (!idle && vote.d % kWordBits) out_mask[i][words - 1] = (Word{1} << (vote.d % kWordBits)) - 1;
    }
    if (possible) return Program(vote, messages).store(vote, out);

    Schedule schedule(vote, std::move(messages));
    for (std::size_t m = 0; m < schedule.jobs.size(); ++m) {
        const std::size_t worker = schedule.messages[m].workers.front();
        schedule.jobs[m].out = out[worker];
        schedule.jobs[m].out_mask = abstains ? out_mask[worker] : nullptr;
    }
    const int participants = threads_for((vote.partitions.size() + out.size()) * words * sizeof(Word));
    Word* scratch = scratch_words(static_cast<std::size_t>(participants) * kVoteScratchWords);
    const KernelTable& table = kernels();
    parallel_for(words, participants, [&](int i, std::size_t begin, std::size_t end) {
        for (std::size_t w = begin; w < end; w += schedule.tile) {
            const std::size_t stop = std::min(end, w + schedule.tile);
            for (const VoteJob& job : schedule.jobs) table.vote(job, scratch + static_cast<std::size_t>(i) * kVoteScratchWords, w, stop);
            for (const Message& message : schedule.messages)
                for (std::size_t c = 1; c < message.workers.size(); ++c) {
                    const std::size_t from = message.workers.front(), to = message.workers[c];
                    table.copy(out[from], out[to], w, stop);
                    if (!out_mask.empty()) table.copy(out_mask[from], out_mask[to], w, stop);
                }
        }
    });
}

void coded_majority(const CodedVote& vote, const Decision& decision) {
    std::vector<Message> messages = distinct_messages(vote);
    if (Program::possible(vote, messages)) return Program(vote, messages).decide(vote, decision);

    const Schedule schedule(vote, std::move(messages));
    const std::size_t words = num_words(vote.d), tile = schedule.tile, rows = schedule.messages.size();
    const std::size_t part = kVoteScratchWords + 2 * rows * tile;
    const int participants = threads_for((vote.partitions.size() + 1) * words * sizeof(Word));
    Word* scratch = scratch_words(static_cast<std::size_t>(participants) * part);
    const KernelTable& table = kernels();
    std::vector<std::vector<VoteJob>> jobs(static_cast<std::size_t>(participants), schedule.jobs);
    std::vector<Plan> globals;
    for (int i = 0; i < participants; ++i) {
        Word* local = scratch + static_cast<std::size_t>(i) * part + kVoteScratchWords;
        const bool abstains = vote.tie == Tie::kAbstain;
        std::vector<Voter> voters;
        for (std::size_t m = 0; m < rows; ++m) {
            const std::size_t copies = schedule.messages[m].workers.size();
            const Voter voter{local + m * tile, abstains ? local + (rows + m) * tile : nullptr, 1};
            // Few voters are counted in registers one by one; of many, equal ones go in once with a weight.
            if (!abstains && vote.code.num_workers() <= kDirectRows)
                voters.insert(voters.end(), copies, voter);
            else
                voters.push_back({voter.words, voter.mask, static_cast<std::int64_t>(copies)});
        }
        globals.push_back(plan_vote(voters));
        for (std::size_t m = 0; m < rows; ++m) {
            jobs[static_cast<std::size_t>(i)][m].out = local + m * tile;
            jobs[static_cast<std::size_t>(i)][m].out_mask = abstains ? local + (rows + m) * tile : nullptr;
        }
    }
    parallel_for(words, participants, [&](int i, std::size_t begin, std::size_t end) {
        Word* mine = scratch + static_cast<std::size_t>(i) * part;
        for (std::size_t w = begin; w < end; w += tile) {
            const std::size_t stop = std::min(end, w + tile);
            for (VoteJob& job : jobs[static_cast<std::size_t>(i)]) {
                job.out_first = w;
                table.vote(job, mine, w, stop);
            }
            VoteJob global = globals[static_cast<std::size_t>(i)].job(decision);
            global.first_word = w;
            global.d = std::min(decision.d - w * kWordBits, tile * kWordBits);
            global.out = decision.out + w;
            global.out_mask = decision.out_mask ? decision.out_mask + w : nullptr;
            table.vote(global, mine, 0, stop - w);
        }
    });
}

}  // namespace electioncode
