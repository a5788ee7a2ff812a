// Which messages of a code are alike, and in which order to count them so that they share the most work.
#pragma once

#include "../votes.h"

namespace electioncode {

using Members = std::vector<size_t>;  // partitions, ascending

// One message to compute from the votes of its members, and the workers that send it.
struct Message {
    Members members;
    std::vector<size_t> workers;
};

// Return the messages to compute: equal rows are one, unless their workers break ties by random bits of their own.
std::vector<Message> distinct_messages(const Code& code, Tie tie, bool masked);

// One message to count: alone, or on from the one before, with some rows added and some removed.
struct Step {
    size_t message;
    bool continues;
    Members added, removed;
};

// Order the messages of a device that counts up to `direct_rows` rows in registers: those best counted alone come
// first, by size.
std::vector<Step> order_messages(const std::vector<Message>& messages, size_t direct_rows);

}  // namespace electioncode
