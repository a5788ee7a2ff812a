#include "message_order.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <map>
#include <utility>

namespace electioncode {
namespace {

// Members as bits: every vote compares every two messages.
using Bits = std::vector<uint64_t>;

Bits bits_of(const Members& members) {
    Bits bits(members.empty() ? 0 : members.back() / 64 + 1);
    for (const size_t m : members) bits[m / 64] |= uint64_t{1} << (m % 64);
    return bits;
}

size_t common(const Bits& a, const Bits& b) {
    size_t count = 0;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) count += static_cast<size_t>(std::popcount(a[i] & b[i]));
    return count;
}

// Instructions per vector, roughly: a load and two for each row; a load or two and two per plane for each change.
size_t cost_alone(size_t rows, size_t direct_rows) {
    return 3 * rows + (rows <= direct_rows ? 0 : 4 * static_cast<size_t>(bit_length(rows)));
}
size_t cost_of_change(size_t added, size_t removed, size_t rows) {
    const size_t planes = static_cast<size_t>(bit_length(rows));
    const size_t pairs = std::min(added, removed), singles = std::max(added, removed) - pairs;
    return (4 + 2 * planes) * pairs + (2 + 2 * planes) * singles + planes;
}

Members without(const Members& a, const Members& b) {
    Members left;
    std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(left));
    return left;
}

// Take the cheapest next message, again and again. Each row of a cyclic code follows from another by one pair.
std::vector<Step> chain_messages(const std::vector<Message>& messages, std::vector<size_t> left, size_t direct_rows) {
    std::vector<Bits> bits;
    for (const Message& message : messages) bits.push_back(bits_of(message.members));
    std::vector<Step> steps;
    while (!left.empty()) {
        size_t best = 0, best_cost = ~size_t{0};
        bool continues = false;
        const auto consider = [&](size_t i, size_t cost, bool change) {
            if (cost < best_cost) best = i, best_cost = cost, continues = change;
        };
        for (size_t i = 0; i < left.size(); ++i) {
            const size_t size = messages[left[i]].members.size();
            consider(i, cost_alone(size, direct_rows), false);
            if (steps.empty()) continue;
            const size_t last = steps.back().message, kept = common(bits[last], bits[left[i]]);
            consider(i, cost_of_change(size - kept, messages[last].members.size() - kept, size), true);
        }
        Step step{left[best], continues, {}, {}};
        if (continues) {
            const Members &from = messages[steps.back().message].members, &to = messages[step.message].members;
            step.added = without(to, from);
            step.removed = without(from, to);
        }
        left.erase(left.begin() + static_cast<ptrdiff_t>(best));
        steps.push_back(std::move(step));
    }
    return steps;
}

}  // namespace

std::vector<Step> order_messages(const std::vector<Message>& messages, size_t direct_rows) {
    const auto size_of = [&](const Step& step) { return messages[step.message].members.size(); };
    std::vector<Step> steps;
    std::vector<size_t> large;
    for (size_t m = 0; m < messages.size(); ++m) {
        if (messages[m].members.size() <= direct_rows / 2)
            steps.push_back({m, false, {}, {}});  // nothing can be cheaper than to count it alone
        else large.push_back(m);
    }
    std::vector<Step> chains = chain_messages(messages, std::move(large), direct_rows), linked;
    for (size_t s = 0; s < chains.size(); ++s) {
        const bool alone = !chains[s].continues && (s + 1 == chains.size() || !chains[s + 1].continues);
        (alone && size_of(chains[s]) <= direct_rows ? steps : linked).push_back(std::move(chains[s]));
    }
    std::stable_sort(steps.begin(), steps.end(), [&](const Step& a, const Step& b) { return size_of(a) < size_of(b); });
    steps.insert(steps.end(), std::make_move_iterator(linked.begin()), std::make_move_iterator(linked.end()));
    return steps;
}

std::vector<Message> distinct_messages(const Code& code, Tie tie, bool masked) {
    std::vector<Message> messages;
    std::map<Members, size_t> known;
    for (size_t i = 0; i < code.num_workers(); ++i) {
        const auto all = code.members.begin();
        Members members(all + static_cast<ptrdiff_t>(code.first[i]), all + static_cast<ptrdiff_t>(code.first[i + 1]));
        if (members.empty()) continue;  // an idle worker sends nothing
        std::sort(members.begin(), members.end());
        // Workers draw their ties from streams of their own, so equal rows agree only where no tie can be drawn.
        const bool draws = tie == Tie::kRandom && (masked || members.size() % 2 == 0);
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

}  // namespace electioncode
