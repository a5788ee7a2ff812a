#include "thread_pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif
#if !defined(_WIN32)
#include <unistd.h>
#endif

namespace electioncode {
namespace {

constexpr int kMaxThreads = 1024;
constexpr size_t kBytesPerThread = size_t{512} << 10;

// Return the CPUs of the control group's quota, rounded up; 0 where there is none.
int quota() {
    std::ifstream file("/sys/fs/cgroup/cpu.max");
    std::string limit;
    double period = 0;
    if (!(file >> limit >> period) || limit == "max" || period <= 0) return 0;
    return std::max(1, static_cast<int>((std::atof(limit.c_str()) + period - 1) / period));
}

int default_threads() {
    for (const char* name : {"ELECTIONCODE_NUM_THREADS", "OMP_NUM_THREADS"})
        if (const char* text = std::getenv(name))
            if (const int n = std::atoi(text); n > 0) return std::min(n, kMaxThreads);
    int n = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
#endif
    if (const int limit = quota(); limit > 0) n = std::min(n, limit);
    return std::clamp(n, 1, kMaxThreads);
}

std::atomic<int>& configured_threads() {
    static std::atomic<int> n{default_threads()};
    return n;
}

struct Part {
    size_t begin, end;
};

Part part_of(size_t total, size_t participants, size_t i) {
    const size_t lines = (total + 7) / 8, base = lines / participants, extra = lines % participants;
    const size_t first = i * base + std::min(i, extra), count = base + (i < extra ? 1 : 0);
    return {std::min(total, first * 8), std::min(total, (first + count) * 8)};
}

class Pool {
public:
    // Return false where another caller has the pool.
    bool run(size_t total, size_t participants, const Task& task) {
        std::unique_lock<std::mutex> in_use(in_use_, std::try_to_lock);
        if (!in_use) return false;
        {
            std::lock_guard<std::mutex> lock(mutex_);
            while (threads_ + 1 < participants) start_thread();
            task_ = &task, total_ = total, participants_ = participants;
            unfinished_ = participants - 1;
            ++round_;
        }
        wake_.notify_all();
        const Part mine = part_of(total, participants, 0);
        task(0, mine.begin, mine.end);
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, [&] { return unfinished_ == 0; });
        return true;
    }

private:
    void start_thread() {
        // Detached, and the pool is never destroyed: no join at exit, when threads may already be gone.
        std::thread(&Pool::work, this, ++threads_, round_).detach();
    }

    void work(size_t index, unsigned long seen) {
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            wake_.wait(lock, [&] { return round_ != seen; });
            seen = round_;
            if (index >= participants_) continue;
            const Task& task = *task_;
            const Part mine = part_of(total_, participants_, index);
            lock.unlock();
            task(index, mine.begin, mine.end);
            lock.lock();
            if (--unfinished_ == 0) done_.notify_one();
        }
    }

    std::mutex in_use_, mutex_;
    std::condition_variable wake_, done_;
    const Task* task_ = nullptr;
    size_t total_ = 0, participants_ = 0, unfinished_ = 0, threads_ = 0;
    unsigned long round_ = 0;
};

// A child of fork() has none of its parent's threads: it gets a new pool, the old one is left as it is.
std::atomic<Pool*> shared_pool{new Pool};

#if !defined(_WIN32)
[[maybe_unused]] const int at_fork = pthread_atfork(nullptr, nullptr, [] { shared_pool.store(new Pool); });
#endif

}  // namespace

int num_threads() { return configured_threads().load(std::memory_order_relaxed); }

void set_num_threads(int n) {
    if (n < 0 || n > kMaxThreads)
        throw std::invalid_argument("set_num_threads: expected 1 <= n <= 1024 (0: the default), got " +
                                    std::to_string(n));
    configured_threads().store(n == 0 ? default_threads() : n, std::memory_order_relaxed);
}

size_t threads_for(size_t bytes) {
    return std::clamp<size_t>(bytes / kBytesPerThread, 1, static_cast<size_t>(num_threads()));
}

void parallel_for(size_t total, size_t participants, const Task& task) {
    if (participants > 1 && shared_pool.load()->run(total, participants, task)) return;
    task(0, 0, total);
}

}  // namespace electioncode
