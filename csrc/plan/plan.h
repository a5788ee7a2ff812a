// From voters to the dots that a kernel counts. Shared by ops.cpp and coding.cpp; not part of the core's interface.
#pragma once

#include "../cpu/ops.h"

namespace electioncode {

struct Plan {
    std::vector<Dot> dots;
    std::uint64_t maximum = 0;
    bool plain = true;

    VoteJob job(const Decision& decision) const {
        return {dots.data(),   dots.size(), plain,           maximum, decision.tie, decision.random, decision.d, 0,
                decision.out, decision.out_mask, 0, nullptr, false};
    }
};

bool any_masked(const std::vector<Voter>& voters);
Plan plan_vote(const std::vector<Voter>& voters);

// Words of the calling thread, 64-byte aligned, that live until its next call.
Word* scratch_words(std::size_t n);

}  // namespace electioncode
