// Between an operation and its kernel: launches, tables, the device. A kernel is a struct: Args, kThreads per block,
// and run(args, Thread) or run(args, Warp).
#pragma once

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "device.h"
#include "ops.h"

#ifdef __CUDACC__
#include <cuda_runtime_api.h>
#endif

namespace electioncode::cuda {

constexpr size_t kMaxArgs = 4096;  // bytes, what every version of CUDA passes by value

// Entries of a launch's table: by value where they fit, so that nothing is copied and a graph keeps them; else in
// scratch memory that a kernel writes from arguments passed by value.
template <typename Entry, int kInline> struct Table {
    const Entry* far;
    Entry near[kInline];

    EC_DEVICE Entry operator[](size_t i) const { return far ? far[i] : near[i]; }
};

void upload(const void* from, size_t bytes, void* to, const Queue& queue);

template <typename Entry, int kInline>
void fill(Table<Entry, kInline>& table, const std::vector<Entry>& entries, const Queue& queue) {
    static_assert(sizeof(Entry) % sizeof(Word) == 0);
    table.far = nullptr;
    std::memset(static_cast<void*>(table.near), 0, sizeof table.near);
    const size_t bytes = entries.size() * sizeof(Entry);
    if (entries.size() <= kInline) {
        if (bytes) std::memcpy(static_cast<void*>(table.near), entries.data(), bytes);
        return;
    }
    void* far = queue.scratch(bytes);
    upload(entries.data(), bytes, far, queue);
    table.far = static_cast<const Entry*>(far);
}

inline size_t blocks_for(size_t threads, int block) {
    const size_t size = static_cast<size_t>(block), blocks = (threads + size - 1) / size;
    if (blocks > 0x7fffffff)
        throw std::invalid_argument("too many coordinates for one launch: " + std::to_string(threads) + " threads");
    return blocks;
}

#ifdef __CUDACC__

void check(cudaError_t error, const char* what);

template <typename Body> __global__ void __launch_bounds__(Body::kThreads)
    kernel(const __grid_constant__ typename Body::Args args) {
    extern __shared__ Word shared[];
    const size_t index = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    Body::run(args, Thread{index, static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x), shared});
}

template <typename Body> void launch_threads(const typename Body::Args& args, size_t threads, const Queue& queue,
                                             int block = Body::kThreads, size_t shared = 0) {
    static_assert(sizeof(args) <= kMaxArgs);
    if (threads == 0) return;
    void* parameters[] = {const_cast<typename Body::Args*>(&args)};
    const dim3 grid(static_cast<unsigned>(blocks_for(threads, block))), threads_of(static_cast<unsigned>(block));
    const DeviceGuard guard(queue.device);
    check(cudaLaunchKernel(reinterpret_cast<const void*>(&kernel<Body>), grid, threads_of, parameters, shared,
                           static_cast<cudaStream_t>(queue.stream)),
          "launch");
}

template <typename Body> void launch_warps(const typename Body::Args& args, size_t warps, const Queue& queue) {
    static_assert(Body::kThreads % kWarp == 0);
    launch_threads<Body>(args, warps * kWarp, queue);
}

#else

// The same grid, one thread or warp after the other; the last block first, since no order may matter.
template <typename Body> void launch_threads(const typename Body::Args& args, size_t threads, const Queue& queue,
                                             int block = Body::kThreads, size_t shared = 0) {
    static_assert(sizeof(args) <= kMaxArgs);
    const DeviceGuard guard(queue.device);
    for (size_t b = blocks_for(threads, block); b-- > 0;) {
        std::vector<Word> memory(shared / sizeof(Word), 0xa5a5a5a5a5a5a5a5u);
        for (int t = 0; t < block; ++t)
            Body::run(args, Thread{b * static_cast<size_t>(block) + static_cast<size_t>(t), t, block, memory.data()});
    }
}

template <typename Body> void launch_warps(const typename Body::Args& args, size_t warps, const Queue& queue) {
    static_assert(sizeof(args) <= kMaxArgs && Body::kThreads % kWarp == 0);
    const DeviceGuard guard(queue.device);
    const size_t a_block = Body::kThreads / kWarp;
    for (size_t w = blocks_for(warps * kWarp, Body::kThreads) * a_block; w-- > 0;) Body::run(args, Warp{w});
}

#endif

}  // namespace electioncode::cuda
