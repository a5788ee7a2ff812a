#include "coding.h"

#include <algorithm>
#include <map>

#include "dispatch.h"
#include "plan.h"
#include "thread_pool.h"

namespace electioncode {

namespace {

using Members = std::vector<std::size_t>;

constexpr std::size_t kDirectRows = 16;                  // what the kernels count in registers
constexpr std::size_t kCacheWords = std::size_t{1} << 15;  // 256 KiB: partitions' and workers' rows of one tile

int bit_length(std::uint64_t n) {
    int length = 0;
    for (; n; n >>= 1) ++length;
    return length;
}

// One message to compute, and the workers that send it.
struct Message {
    Members members;
    std::vector<std::size_t> workers;
};

std::vector<Message> distinct_messages(const CodedVote& vote, bool masked) {
    std::vector<Message> messages;
    std::map<Members, std::size_t> known;
    for (std::size_t i = 0; i < vote.code.num_workers(); ++i) {
        const auto first = vote.code.members.begin();
        Members members(first + static_cast<std::ptrdiff_t>(vote.code.first[i]), first + static_cast<std::ptrdiff_t>(vote.code.first[i + 1]));
        if (members.empty()) continue;  // an idle worker sends nothing
        std::sort(members.begin(), members.end());
        // Workers draw their ties from streams of their own, so equal rows agree only where no tie can be drawn.
        const bool draws = vote.tie == Tie::kRandom && (masked || members.size() % 2 == 0);
        const auto [place, is_new] = known.try_emplace(members, messages.size());
        if (draws || is_new) {
            place->second = messages.size();
            messages.push_back({members, {i}});
        } else {
            messages[place->second].workers.push_back(i);
        }
    }
    return messages;
}

struct Change {
    Members added, removed;
};

Change change_between(const Members& from, const Members& to) {
    Change change;
    std::set_difference(to.begin(), to.end(), from.begin(), from.end(), std::back_inserter(change.added));
    std::set_difference(from.begin(), from.end(), to.begin(), to.end(), std::back_inserter(change.removed));
    return change;
}

// Operations a word, roughly: two and a load for each row, and the counters once through the cache.
std::size_t cost_alone(std::size_t rows) { return rows <= kDirectRows ? 3 * rows : 3 * rows + 4 * static_cast<std::size_t>(bit_length(rows)); }
std::size_t cost_of(const Change& change, std::size_t rows) {
    return 3 * change.added.size() + 5 * change.removed.size() + 5 * static_cast<std::size_t>(bit_length(rows));
}

// Which messages to compute in which order, each alone or from the counters of the one before.
struct Step {
    std::size_t message;
    bool continues = false;
    Change change;
    std::uint64_t offset = 0;
};

// Greedy: always the cheapest next message. Rows of a cyclic code come out one from the other, by two changes each.
std::vector<Step> order_messages(const std::vector<Message>& messages, bool masked) {
    std::vector<Step> steps;
    std::vector<std::size_t> left;
    for (std::size_t m = 0; m < messages.size(); ++m) {
        if (masked || messages[m].members.size() <= kDirectRows / 2) {
            steps.push_back({m, false, {}, 0});  // nothing can be cheaper
        } else {
            left.push_back(m);
        }
    }
    const Members* counted = nullptr;
    std::uint64_t offset = 0;
    while (!left.empty()) {
        std::size_t best = 0, best_cost = ~std::size_t{0};
        Step step{0, false, {}, 0};
        for (std::size_t i = 0; i < left.size(); ++i) {
            const Members& members = messages[left[i]].members;
            if (const std::size_t cost = cost_alone(members.size()); cost < best_cost) {
                best = i, best_cost = cost;
                step = {left[i], false, {}, 0};
            }
            if (!counted) continue;
            Change change = change_between(*counted, members);
            if (const std::size_t cost = cost_of(change, members.size()); cost < best_cost) {
                best = i, best_cost = cost;
                const std::uint64_t total = offset + change.removed.size();
                step = {left[i], true, std::move(change), total};
            }
        }
        left.erase(left.begin() + static_cast<std::ptrdiff_t>(best));
        const Members& members = messages[step.message].members;
        if (step.continues || members.size() > kDirectRows) {
            counted = &members;
            offset = step.offset;
        }
        steps.push_back(std::move(step));
    }
    return steps;
}

// The jobs of all local votes, in order; `out` of a job is set by whoever runs it.
struct Schedule {
    std::vector<Message> messages;
    std::vector<Plan> plans;
    std::vector<VoteJob> jobs;
    std::vector<std::size_t> message_of_job;
    std::size_t tile = kDerivedTileWords;
};

Schedule schedule_votes(const CodedVote& vote) {
    const bool masked = std::any_of(vote.partitions.begin(), vote.partitions.end(), [](const Voter& v) { return v.mask != nullptr; });
    Schedule schedule;
    schedule.messages = distinct_messages(vote, masked);
    const std::vector<Step> steps = order_messages(schedule.messages, masked);
    // All chains use as many planes as the link that needs most.
    const bool chained = std::any_of(steps.begin(), steps.end(), [](const Step& step) { return step.continues; });
    int planes = 0;
    for (const Step& step : steps)
        if (const std::size_t size = schedule.messages[step.message].members.size(); chained && (step.continues || size > kDirectRows))
            planes = std::max(planes, bit_length(size + step.offset));
    for (const Step& step : steps) {
        const Members& members = schedule.messages[step.message].members;
        std::vector<Voter> voters;
        for (const std::size_t m : step.continues ? step.change.added : members) voters.push_back(vote.partitions[m]);
        Plan plan = plan_vote(voters);
        for (const std::size_t m : step.change.removed) plan.dots.push_back({vote.partitions[m].words, nullptr, DotKind::kNotRow, 0});
        plan.plain = plan.plain && step.change.removed.empty();
        if (step.continues) plan.maximum = members.size();
        schedule.plans.push_back(std::move(plan));
        schedule.message_of_job.push_back(step.message);
    }
    for (std::size_t s = 0; s < steps.size(); ++s) {
        Decision decision{vote.tie, vote.random, vote.d, nullptr, nullptr};
        decision.random.stream += static_cast<std::uint32_t>(schedule.messages[steps[s].message].workers.front());
        VoteJob job = schedule.plans[s].job(decision);
        const bool starts_chain = schedule.messages[steps[s].message].members.size() > kDirectRows;
        if (planes > 0 && (steps[s].continues || starts_chain) && !masked) {
            job.chain_planes = planes;
            job.continues = steps[s].continues;
            job.offset = steps[s].offset;
        }
        schedule.jobs.push_back(job);
    }
    const std::size_t rows = (masked ? 2 : 1) * (vote.partitions.size() + schedule.messages.size()) + 1;
    schedule.tile = std::max<std::size_t>(kCacheWords / rows / 64 * 64, 64);
    if (planes > 0) schedule.tile = std::min(schedule.tile, counter_tile(planes, false));
    return schedule;
}

}  // namespace

void local_majorities(const CodedVote& vote, const std::vector<Word*>& out, const std::vector<Word*>& out_mask) {
    Schedule schedule = schedule_votes(vote);
    for (std::size_t j = 0; j < schedule.jobs.size(); ++j) {
        const std::size_t worker = schedule.messages[schedule.message_of_job[j]].workers.front();
        schedule.jobs[j].out = out[worker];
        schedule.jobs[j].out_mask = vote.tie == Tie::kAbstain ? out_mask[worker] : nullptr;
    }
    const std::size_t words = num_words(vote.d);
    for (std::size_t i = 0; i < out.size(); ++i) {
        const bool idle = vote.code.first[i] == vote.code.first[i + 1];
        if (idle) std::fill_n(out[i], words, Word{0});
        if (out_mask.empty() || (!idle && vote.tie == Tie::kAbstain)) continue;
        std::fill_n(out_mask[i], words, idle ? Word{0} : ~Word{0});
        if (!idle && vote.d % kWordBits) out_mask[i][words - 1] = (Word{1} << (vote.d % kWordBits)) - 1;
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
    const Schedule schedule = schedule_votes(vote);
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
        for (std::size_t j = 0; j < schedule.jobs.size(); ++j) {
            const std::size_t m = schedule.message_of_job[j];
            jobs[static_cast<std::size_t>(i)][j].out = local + m * tile;
            jobs[static_cast<std::size_t>(i)][j].out_mask = abstains ? local + (rows + m) * tile : nullptr;
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
