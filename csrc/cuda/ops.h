// The operations on device memory: plan, and queue kernels on a stream. None waits, and none allocates but for the
// scratch that a queue hands out. The jobs are those of the CPU with device pointers in them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "../votes.h"

namespace electioncode::cuda {

// Where kernels are queued. scratch(bytes) gives device memory, 16-byte aligned, that lives until they have run.
struct Queue {
    int device;
    void* stream;
    std::function<void*(size_t)> scratch;
};

// Make a device current, and the one before it at the end. Throws std::runtime_error where there is none.
class DeviceGuard {
public:
    explicit DeviceGuard(int device);
    ~DeviceGuard();
    DeviceGuard(const DeviceGuard&) = delete;
    DeviceGuard& operator=(const DeviceGuard&) = delete;

private:
    int before_;
    bool changed_;
};

int device_count(std::string* why_none);  // 0 where there is no GPU or no driver
bool is_emulated();                       // built for the CPU, see device.h
const char* built_for();                  // versions and architectures

// Where votes are rows of one array, `stride` words apart.
struct RowSet {
    const Word* words;
    const Word* mask;  // nullptr: all vote everywhere
    size_t rows;
    size_t stride, mask_stride;
};

// used, if not nullptr, is device memory, one byte per job: where it is 0 the job votes nothing (words and mask are 0)
// and its momentum stays. nan, if not nullptr, is set to 1 where a job whose policy is kRaise sees a NaN; memory that
// the device can write.
void pack(const std::vector<PackJob>& jobs, const uint8_t* used, int* nan, const Queue& queue);
void unpack(const std::vector<UnpackJob>& jobs, const Queue& queue);
void update(const std::vector<UpdateJob>& jobs, const Queue& queue);

void majority(const std::vector<Voter>& voters, const Decision& decision, const Queue& queue);
void majority_of_counters(const std::vector<Dot>& dots, uint64_t maximum, const Decision& decision, const Queue& queue);
void margin(const MarginJob& job, const Queue& queue);
void accumulate(const AccumulateJob& job, const Queue& queue);

// counts[v] += coordinates at which voter v and the winner both voted, and differently.
void disagreement(const std::vector<Voter>& voters, const Voter& winner, size_t d, int64_t* counts, const Queue& queue);

// Ties of worker i draw from stream random.stream + i. out and out_mask are n rows; out_mask is needed where ties
// abstain or a worker holds nothing.
struct CodedVote {
    RowSet partitions;
    Code code;
    Tie tie;
    RandomStream random;
    size_t d;
};
void local_majorities(const CodedVote& vote, Word* out, size_t stride, Word* out_mask, size_t mask_stride,
                      const Queue& queue);
void coded_majority(const CodedVote& vote, const Decision& decision, const Queue& queue);

}  // namespace electioncode::cuda
