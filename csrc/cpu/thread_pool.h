// A small thread pool: static contiguous ranges, no queue, and the caller takes part. No OpenMP, on purpose: two
// OpenMP runtimes in one process (ours and PyTorch's) hang after a fork and fight over affinity.
#pragma once

#include <stddef.h>
#include <functional>

namespace electioncode {

// The default is ELECTIONCODE_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs this process may use.
int num_threads();
void set_num_threads(int n);  // throws std::invalid_argument unless 1 <= n <= 1024; 0 restores the default

// Return how many threads work on `bytes` of memory traffic: one below a size where waking a thread costs more than it
// saves.
size_t threads_for(size_t bytes);

// Call task(participant, begin, end) for `participants` contiguous parts of [0, total), cut at multiples of 8 words (a
// cache line). The caller runs it alone where the pool is busy with another caller. The task must not throw.
using Task = std::function<void(size_t, size_t, size_t)>;
void parallel_for(size_t total, size_t participants, const Task& task);

}  // namespace electioncode
