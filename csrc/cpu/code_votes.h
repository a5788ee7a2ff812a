// Votes over a code: every worker's majority of its partitions, with the work that rows share done once.
#pragma once

#include "ops.h"

namespace electioncode {

struct CodedVote {
    std::vector<Voter> partitions;
    Code code;
    Tie tie;
    RandomStream random;  // of the local votes
    size_t d;
};

// out[i] is worker i's message; out_mask[i], needed where ties abstain or a worker holds nothing, says where it votes.
// A worker that holds nothing abstains.
void local_majorities(const CodedVote& vote, const std::vector<Word*>& out, const std::vector<Word*>& out_mask);

// Return the majority of all workers' messages, which are never stored: a tile of them lives in the cache.
void coded_majority(const CodedVote& vote, const Decision& decision);

}  // namespace electioncode
