// A small pool: static contiguous ranges, the caller takes part, no queue. OpenMP is left out on purpose:
// two OpenMP runtimes in one process (ours and PyTorch's) hang after a fork and fight over affinity.
#pragma once

#include <cstddef>
#include <functional>

namespace electioncode {

// Default: ELECTIONCODE_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs this process may use.
int num_threads();
void set_num_threads(int n);  // throws std::invalid_argument unless 1 <= n <= 1024; 0 restores the default

// How many threads work on `bytes` of memory traffic: one below a size where waking a thread costs more than it saves.
int threads_for(std::size_t bytes);

// Calls task(participant, begin, end) for `participants` contiguous parts of [0, total), cut at multiples of
// 8 words (a cache line). Runs in the caller alone where the pool is busy with another caller. The task must not throw.
void parallel_for(std::size_t total, int participants, const std::function<void(int, std::size_t, std::size_t)>& task);

}  // namespace electioncode
