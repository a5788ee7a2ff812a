#include "message_order.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <map>
#include <numeric>

#include "../cpu/dispatch.h"
#include "plan.h"
#include "../cpu/thread_pool.h"

namespace electioncode {

namespace {

constexpr std::size_t kCountedRows = (std::size_t{1} << kMaxChainPlanes) - 1;

int planes_for(std::size_t count) { return static_cast<int>(std::bit_width(count)); }

struct Change {
    Members added, removed;
};

Change change_between(const Members& from, const Members& to) {
    Change change;
    std::set_difference(to.begin(), to.end(), from.begin(), from.end(), std::back_inserter(change.added));
    std::set_difference(from.begin(), from.end(), to.begin(), to.end(), std::back_inserter(change.removed));
    return change;
}

// Members as bits: the search below compares every two messages, at every vote.
using Bits = std::vector<std::uint64_t>;

Bits bits_of(const Members& members) {
    Bits bits(members.empty() ? 0 : members.back() / 64 + 1);
    for (const std::size_t m : members) bits[m / 64] |= std::uint64_t{1} << (m % 64);
    return bits;
}

std::size_t common(const Bits& a, const Bits& b) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) count += static_cast<std::size_t>(std::popcount(a[i] & b[i]));
    return count;
}

// Instructions a vector, roughly: a load and two for each row; a load or two and two a plane for each change.
std::size_t cost_alone(std::size_t rows) { return 3 * rows + (rows <= kDirectRows ? 0 : 4 * static_cast<std::size_t>(planes_for(rows))); }
std::size_t cost_of(std::size_t added, std::size_t removed, std::size_t rows) {
    const std::size_t planes = static_cast<std::size_t>(planes_for(rows));
    const std::size_t pairs = std::min(added, removed), singles = std::max(added, removed) - pairs;
    return (4 + 2 * planes) * pairs + (2 + 2 * planes) * singles + planes;
}

// A message to compute, alone or from the counters of the one before.
struct Step {
    std::size_t message;
    bool continues = false;
    Change change;
};

// Greedy: always the cheapest next message. Rows of a cyclic code come out one from the other, by one pair each.
std::vector<Step> chain_messages(const std::vector<Message>& messages, std::vector<std::size_t> left) {
    std::vector<Bits> bits;
    for (const Message& message : messages) bits.push_back(bits_of(message.members));
    std::vector<Step> steps;
    while (!left.empty()) {
        std::size_t best = 0, best_cost = ~std::size_t{0};
        bool continues = false;
        for (std::size_t i = 0; i < left.size(); ++i) {
            const std::size_t size = messages[left[i]].members.size();
            if (const std::size_t cost = cost_alone(size); cost < best_cost) best = i, best_cost = cost, continues = false;
            if (steps.empty()) continue;
            const std::size_t last = steps.back().message, kept = common(bits[last], bits[left[i]]);
            if (const std::size_t cost = cost_of(size - kept, messages[last].members.size() - kept, size); cost < best_cost)
                best = i, best_cost = cost, continues = true;
        }
        Step step{left[best], continues, {}};
        if (continues) step.change = change_between(messages[steps.back().message].members, messages[step.message].members);
        left.erase(left.begin() + static_cast<std::ptrdiff_t>(best));
        steps.push_back(std::move(step));
    }
    return steps;
}

// Small messages first, by size: nothing can be cheaper than to count them alone.
std::vector<Step> order_messages(const std::vector<Message>& messages) {
    std::vector<Step> steps;
    std::vector<std::size_t> large;
    for (std::size_t m = 0; m < messages.size(); ++m) {
        if (messages[m].members.size() <= kDirectRows / 2)
            steps.push_back({m, false, {}});
        else
            large.push_back(m);
    }
    std::vector<Step> chains = chain_messages(messages, std::move(large));
    // What is alone after all joins the others.
    for (std::size_t s = 0; s < chains.size();) {
        const bool alone = !chains[s].continues && (s + 1 == chains.size() || !chains[s + 1].continues);
        if (!alone || messages[chains[s].message].members.size() > kDirectRows) {
            ++s;
            continue;
        }
        steps.push_back(std::move(chains[s]));
        chains.erase(chains.begin() + static_cast<std::ptrdiff_t>(s));
    }
    std::stable_sort(steps.begin(), steps.end(), [&](const Step& a, const Step& b) {
        return messages[a.message].members.size() < messages[b.message].members.size();
    });
    steps.insert(steps.end(), std::make_move_iterator(chains.begin()), std::make_move_iterator(chains.end()));
    return steps;
}

}  // namespace

std::vector<Message> distinct_messages(const CodedVote& vote) {
    const bool masked = any_masked(vote.partitions);
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

bool Program::possible(const CodedVote& vote, const std::vector<Message>& messages) {
    if (any_masked(vote.partitions) || messages.empty() || vote.code.num_workers() > kCountedRows) return false;
    const bool tie_is_fixed = vote.tie == Tie::kPlus || vote.tie == Tie::kMinus;
    return std::all_of(messages.begin(), messages.end(), [&](const Message& m) {
        return m.members.size() <= kCountedRows && (tie_is_fixed || m.members.size() % 2 == 1);
    });
}

Program::Program(const CodedVote& vote, const std::vector<Message>& messages) {
    const std::vector<Step> steps = order_messages(messages);
    const auto add_rows = [&](const Members& members) {
        for (const std::size_t m : members) rows_.push_back(vote.partitions[m].words);
    };
    // Rows and links first: runs point into them.
    for (const Step& step : steps) {
        add_rows(step.continues ? step.change.added : messages[step.message].members);
        add_rows(step.change.removed);
        if (step.continues)
            links_.push_back({static_cast<std::uint32_t>(step.change.added.size()), static_cast<std::uint32_t>(step.change.removed.size())});
        workers_.push_back(messages[step.message].workers);
    }
    used_ = rows_;
    std::sort(used_.begin(), used_.end());
    used_.erase(std::unique(used_.begin(), used_.end()), used_.end());

    const Word* const* row = rows_.data();
    const CodedLink* link = links_.data();
    for (std::size_t s = 0; s < steps.size(); ++s) {
        const std::size_t size = messages[steps[s].message].members.size();
        if (steps[s].continues) {
            ++runs_.back().messages;
            runs_.back().planes = std::max(runs_.back().planes, planes_for(size));
            row += link->added + link->removed;
            ++link;
            continue;
        }
        const bool chain = size > kDirectRows || (s + 1 < steps.size() && steps[s + 1].continues);
        if (!chain && !runs_.empty() && runs_.back().planes == 0 && runs_.back().size == size)
            ++runs_.back().messages;
        else
            runs_.push_back({row, 1, size, chain ? planes_for(size) : 0, link});
        row += size;
    }
}

CodedJob Program::job(const CodedVote& vote) const {
    CodedJob job{};
    job.runs = runs_.data();
    job.num_runs = runs_.size();
    job.num_messages = workers_.size();
    job.used = used_.data();
    job.num_used = used_.size();
    job.ties_plus = vote.tie == Tie::kPlus;
    job.d = vote.d;
    return job;
}

void Program::run(const CodedJob& job, std::size_t words, std::size_t bytes, std::size_t scratch) const {
    const int participants = threads_for(bytes);
    scratch = (scratch + 1023) / 512 * 512;  // a page apart: else one thread prefetches what the other writes
    Word* memory = scratch_words(static_cast<std::size_t>(participants) * scratch);
    const KernelTable& table = kernels();
    parallel_for(words, participants, [&](int i, std::size_t begin, std::size_t end) {
        table.coded(job, memory + static_cast<std::size_t>(i) * scratch, begin, end);
    });
}

void Program::store(const CodedVote& vote, const std::vector<Word*>& out) const {
    std::vector<CodedOutput> outputs;
    for (std::size_t m = 0; m < workers_.size(); ++m)
        for (const std::size_t worker : workers_[m]) outputs.push_back({m, out[worker]});
    const std::size_t words = num_words(vote.d);
    CodedJob job = this->job(vote);
    job.outputs = outputs.data();
    job.num_outputs = outputs.size();
    job.streams = outputs.size() * words * sizeof(Word) >= kStreamBytes;
    run(job, words, (used_.size() + outputs.size()) * words * sizeof(Word), message_stride(job.num_messages) * job.num_messages);
}

void Program::decide(const CodedVote& vote, const Decision& decision) const {
    std::size_t unit = 0;  // only the proportion of the workers matters
    for (const auto& workers : workers_) unit = std::gcd(unit, workers.size());
    std::vector<std::uint32_t> voters;
    for (std::size_t m = 0; m < workers_.size(); ++m) voters.insert(voters.end(), workers_[m].size() / unit, static_cast<std::uint32_t>(m));
    const std::size_t words = num_words(vote.d);
    CodedJob job = this->job(vote);
    job.voters = voters.data();
    job.num_voters = voters.size();
    job.tie = decision.tie;
    job.random = decision.random;
    job.out = decision.out;
    job.out_mask = decision.out_mask;
    const std::size_t pointers = (voters.size() * sizeof(Word*) + 63) / 64 * 64 / sizeof(Word);
    run(job, words, (used_.size() + 1) * words * sizeof(Word), kLineWords * job.num_messages + pointers);
}

}  // namespace electioncode
