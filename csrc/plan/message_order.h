// How to compute the messages of a code with the least work. Shared by program.cpp and coding.cpp; not part of the
// core's interface.
#pragma once

#include "../cpu/code_votes.h"

namespace electioncode {

using Members = std::vector<std::size_t>;

// One message to compute from the votes of its members, and the workers that send it.
struct Message {
    Members members;
    std::vector<std::size_t> workers;
};

// Equal rows are one message, unless their workers break ties by bits of their own.
std::vector<Message> distinct_messages(const CodedVote& vote);

// The messages in the order in which the kernel computes them: alone, or as chains of small changes.
class Program {
public:
    Program(const CodedVote& vote, const std::vector<Message>& messages);

    // Whether the kernel can do it: nobody abstains, and no message draws random bits.
    static bool possible(const CodedVote& vote, const std::vector<Message>& messages);

    // Every worker's message; out[i] is worker i's.
    void store(const CodedVote& vote, const std::vector<Word*>& out) const;
    // The majority of the messages, none of which is stored.
    void decide(const CodedVote& vote, const Decision& decision) const;

private:
    void run(const CodedJob& job, std::size_t words, std::size_t bytes, std::size_t scratch) const;
    CodedJob job(const CodedVote& vote) const;

    std::vector<const Word*> rows_, used_;
    std::vector<CodedLink> links_;
    std::vector<CodedRun> runs_;
    std::vector<std::vector<std::size_t>> workers_;  // of each message, in the order of the runs
};

}  // namespace electioncode
