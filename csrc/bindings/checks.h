// Checks of what Python passes, shared by the modules _core and _cuda: limits, policies, addresses, codes.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "../votes.h"

namespace electioncode::bindings {

namespace py = pybind11;
using Address = uintptr_t;
using Indices = std::vector<size_t>;
using Key = uint32_t;  // a word of a random stream

extern const char* const kModule;  // for error messages; each module defines its own

constexpr size_t kMaxCoordinates = size_t{1} << 43;  // so that sizes in bytes fit 64 bits with room to spare
constexpr uint32_t kPurposeTie = 0, kPurposeZero = 1;
constexpr uint32_t kFirstWorkerStream = 1;  // stream 0 is the global vote's

template <typename Got> [[noreturn]] void fail(const char* argument, const std::string& expected, const Got& got) {
    std::ostringstream text;
    text << kModule << ": " << argument << " must be " << expected << ", got " << got;
    throw py::value_error(text.str());
}

template <typename Enum> Enum choice(int value, int count, const char* argument) {
    if (value < 0 || value >= count) fail(argument, "0 .. " + std::to_string(count - 1), value);
    return static_cast<Enum>(value);
}
inline Tie tie_of(int value) { return choice<Tie>(value, 4, "tie"); }
inline Zero zero_of(int value) { return choice<Zero>(value, 4, "zero"); }
inline Nan nan_of(int value) { return choice<Nan>(value, 3, "nan"); }
inline Dtype float_of(int value) { return choice<Dtype>(value, 4, "dtype"); }

inline size_t coordinates(size_t d) {
    if (d > kMaxCoordinates) fail("d", "at most 2**43", d);
    return d;
}

// Check an address; for the memory behind it, the caller vouches.
template <typename T> T* pointer(Address address, size_t alignment, const char* argument, bool needed) {
    if (needed && address == 0) fail(argument, "an address", 0);
    if (address % alignment) fail(argument, "aligned to " + std::to_string(alignment) + " bytes", address);
    return reinterpret_cast<T*>(address);
}
template <typename T> T* values_at(Address address, Dtype dtype, const char* argument, bool needed) {
    return pointer<T>(address, element_bytes(dtype), argument, needed);
}

using MaybeWeights = std::optional<std::vector<int64_t>>;
using MaybeSplit = std::optional<std::pair<double, double>>;

// Fill in the policies and factors that all tensors of a call share.
inline void set_rule(PackJob& job, double beta, double weight, bool negate, int zero, int nan,
                     const MaybeSplit& split) {
    job.beta = beta, job.weight = weight, job.negate = negate;
    job.zero = zero_of(zero), job.nan = nan_of(nan);
    if (!split) return;
    if (!job.v && job.d > 0) fail("v", "an address where the momentum is split", 0);
    job.split = true, job.split_beta = split->first, job.split_weight = split->second;
}

inline void set_weights(std::vector<Voter>& voters, const MaybeWeights& weights) {
    if (!weights) return;
    if (weights->size() != voters.size()) fail("weights", "one per voter", weights->size());
    int64_t sum = 0;
    for (size_t i = 0; i < voters.size(); ++i) {
        const int64_t w = (*weights)[i];
        if (w > kMaxTotalWeight || w < -kMaxTotalWeight || (sum += std::abs(w)) > kMaxTotalWeight)
            fail("weights", "at most 2**40 in sum of absolute values", w);
        voters[i].weight = w;
    }
}

inline Code code_of(const Indices& first, const Indices& members, size_t partitions, size_t most_members) {
    if (first.empty() || first.front() != 0 || first.back() != members.size())
        fail("first", "offsets into members", "others");
    for (size_t i = 1; i < first.size(); ++i) {
        if (first[i] < first[i - 1]) fail("first", "not decreasing", first[i]);
        if (first[i] - first[i - 1] > most_members)
            fail("first", "at most " + std::to_string(most_members) + " members apart", first[i]);
    }
    for (const size_t m : members)
        if (m >= partitions) fail("members", "partition indices", m);
    return {first, members};
}

inline bool has_idle_worker(const Code& code) {
    return std::adjacent_find(code.first.begin(), code.first.end()) != code.first.end();
}

inline void check_maximum(uint64_t maximum, const std::vector<Dot>& counters) {
    if (maximum > static_cast<uint64_t>(2 * kMaxTotalWeight)) fail("maximum", "at most 2**41", maximum);
    for (const Dot& dot : counters)
        if ((maximum >> dot.plane) == 0) fail("maximum", "at least the counters' highest bit", maximum);
}

}  // namespace electioncode::bindings
