// From voters to the dots that a kernel counts.
#pragma once

#include "../votes.h"

namespace electioncode {

struct Plan {
    std::vector<Dot> dots;  // by plane; a masked voter's two dots are neighbours
    uint64_t maximum;       // of the count
    bool plain;             // every dot is a kRow of plane 0
};

bool any_masked(const std::vector<Voter>& voters);

// Turn voters into dots. Without masks the count of votes decides: weight * bit, complemented for a negative weight.
// With masks each voter puts in weight * (1 + sign): its vote and "not a vote against", so that abstaining is half-way.
Plan plan_vote(const std::vector<Voter>& voters);

}  // namespace electioncode
