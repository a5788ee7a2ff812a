#include "voters.h"

#include <algorithm>

namespace electioncode {

bool any_masked(const std::vector<Voter>& voters) {
    return std::any_of(voters.begin(), voters.end(), [](const Voter& v) { return v.mask != nullptr; });
}

Plan plan_vote(const std::vector<Voter>& voters) {
    const bool masked = any_masked(voters);
    Plan plan{{}, 0, true};
    for (const Voter& v : voters) {
        const uint64_t weight = static_cast<uint64_t>(v.weight < 0 ? -v.weight : v.weight);
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
    for (const Dot& dot : plan.dots) plan.plain = plan.plain && dot.kind == DotKind::kRow && dot.plane == 0;
    return plan;
}

}  // namespace electioncode
