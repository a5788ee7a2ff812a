// Many tensors in one launch: tiles of 32 words, of which each belongs to one tensor.
#pragma once

#include "runtime.h"

namespace electioncode::cuda {

// Return the tensor to which a tile belongs: args.entries[i].first_tile <= tile < args.entries[i + 1].first_tile.
template <typename Args> EC_DEVICE const auto& entry_of(const Args& args, size_t tile) {
    int low = 0, high = args.count;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (args.entries[middle].first_tile <= tile) low = middle;
        else high = middle;
    }
    return args.entries[low];
}

// Launch jobs, as many alike at once as the arguments hold: launch(args, one of them) per launch, entry(job,
// first_tile) per job.
template <typename Args, typename Job, typename Alike, typename Describe, typename Launch>
void launch_tiles(const std::vector<Job>& jobs, Alike alike, Describe entry, Launch launch) {
    std::vector<const Job*> left;
    for (const Job& job : jobs)
        if (job.d > 0) left.push_back(&job);
    while (!left.empty()) {
        const Job& like = *left.front();
        Args args{};
        std::vector<const Job*> others;
        for (const Job* job : left) {
            if (args.count == Args::kMost || !alike(like, *job)) {
                others.push_back(job);
                continue;
            }
            args.entries[args.count++] = entry(*job, args.tiles);
            args.tiles += (num_words(job->d) + kWarp - 1) / kWarp;
        }
        launch(args, like);
        left.swap(others);
    }
}

}  // namespace electioncode::cuda
