// Recorded calls and what the reference gave for them (record.py), for replay.cpp and replay_cuda.cpp.
#pragma once

#include <stdint.h>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace electioncode {

enum Operation { kPack, kMomentum, kUnpack, kUpdate, kMajority, kCoded, kTally, kRandomWords, kChecksum, kOperations };
constexpr const char* kNames[kOperations] = {"pack",       "momentum", "unpack", "update",  "majority",
                                             "coded vote", "tally",    "random", "checksum"};

// A heap block of exactly this size, so that a sanitizer sees the first byte beyond it.
struct Block {
    size_t size = 0;
    std::unique_ptr<unsigned char[]> data;

    explicit Block(size_t n = 0) : size(n), data(n ? new unsigned char[n] : nullptr) {
        if (n) std::memset(data.get(), 0xa5, n);  // results must not depend on what was there
    }
    Block(const Block& other) : Block(other.size) {
        if (size) std::memcpy(data.get(), other.data.get(), size);
    }
    Block(Block&&) = default;
    Block& operator=(Block&&) = default;
    template <typename T> T* as(size_t index = 0) const {
        return data ? reinterpret_cast<T*>(data.get()) + index : nullptr;
    }
    bool operator==(const Block& other) const {
        return size == other.size && (size == 0 || std::memcmp(data.get(), other.data.get(), size) == 0);
    }
};

struct Record {
    Operation operation;
    std::vector<int64_t> integers;
    std::vector<Block> arrays;

    size_t size(size_t i) const { return static_cast<size_t>(integers[i]); }
    uint32_t key(size_t i) const { return static_cast<uint32_t>(integers[i]); }
    double real(size_t i) const {
        double x;
        std::memcpy(&x, &integers[i], sizeof x);
        return x;
    }
};

inline uint64_t read_number(std::istream& in) {
    uint64_t x = 0;
    in.read(reinterpret_cast<char*>(&x), sizeof x);
    return x;
}

inline std::vector<Record> read_records(const char* path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) throw std::runtime_error(std::string("cannot read ") + path);
    std::vector<Record> records;
    while (in.peek() != std::ifstream::traits_type::eof()) {
        Record r;
        r.operation = static_cast<Operation>(read_number(in));
        const size_t integers = read_number(in), arrays = read_number(in);
        for (size_t i = 0; i < integers; ++i) r.integers.push_back(static_cast<int64_t>(read_number(in)));
        for (size_t i = 0; i < arrays; ++i) {
            Block block(read_number(in));
            in.read(block.as<char>(), static_cast<std::streamsize>(block.size));
            r.arrays.push_back(std::move(block));
        }
        records.push_back(std::move(r));
    }
    return records;
}

}  // namespace electioncode
