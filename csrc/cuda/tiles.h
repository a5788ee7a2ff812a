// Many tensors in one launch: tiles of 32 words, of which each belongs to one tensor.
#pragma once

#include "device.h"

namespace electioncode::cuda {

// The tensor to which a tile belongs: args.entries[i].first_tile <= tile < args.entries[i + 1].first_tile.
template <typename Args>
EC_DEVICE const auto& entry_of(const Args& args, std::size_t tile) {
    int low = 0, high = args.count;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (args.entries[middle].first_tile <= tile) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return args.entries[low];
}

}  // namespace electioncode::cuda
