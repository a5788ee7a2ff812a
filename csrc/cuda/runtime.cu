// The device, and tables too long to pass by value.
#include "runtime.h"

namespace electioncode::cuda {
namespace {

struct StoreTable {
    static constexpr int kThreads = 128;
    static constexpr size_t kWords = 500;
    struct Args {
        Word* to;
        size_t count;
        Word values[kWords];
    };
    static EC_DEVICE void run(const Args& args, Thread t) {
        if (t.index < args.count) args.to[t.index] = args.values[t.index];
    }
};

}  // namespace

void upload(const void* from, size_t bytes, void* to, const Queue& queue) {
    const size_t words = bytes / sizeof(Word);
    for (size_t first = 0; first < words; first += StoreTable::kWords) {
        StoreTable::Args args{static_cast<Word*>(to) + first, std::min(StoreTable::kWords, words - first), {}};
        std::memcpy(args.values, static_cast<const char*>(from) + first * sizeof(Word), args.count * sizeof(Word));
        launch_threads<StoreTable>(args, args.count, queue);
    }
}

#ifdef __CUDACC__

void check(cudaError_t error, const char* what) {
    if (error == cudaSuccess) return;
    cudaGetLastError();  // clear it
    throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(error) + " (" +
                             cudaGetErrorName(error) + ")");
}

DeviceGuard::DeviceGuard(int device) : before_(device), changed_(false) {
    check(cudaGetDevice(&before_), "no usable GPU");
    if (before_ == device) return;
    check(cudaSetDevice(device), ("device " + std::to_string(device)).c_str());
    changed_ = true;
}

DeviceGuard::~DeviceGuard() {
    if (changed_) cudaSetDevice(before_);
}

int device_count(std::string* why_none) {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && count > 0) return count;
    cudaGetLastError();
    if (why_none) *why_none = error == cudaSuccess ? "no device" : cudaGetErrorString(error);
    return 0;
}

bool is_emulated() { return false; }

const char* built_for() { return ELECTIONCODE_CUDA_BUILD; }

#else

DeviceGuard::DeviceGuard(int device) : before_(device), changed_(false) {
    if (device != 0) throw std::runtime_error("CUDA: the emulation has device 0 alone, got " + std::to_string(device));
}
DeviceGuard::~DeviceGuard() { (void)changed_; }
int device_count(std::string*) { return 1; }
bool is_emulated() { return true; }
const char* built_for() { return "emulation on the CPU"; }

#endif

}  // namespace electioncode::cuda
