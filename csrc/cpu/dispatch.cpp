#include "dispatch.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

namespace electioncode {
namespace {

#ifdef ELECTIONCODE_X86
// The compiler's own look-up also asks the operating system (XGETBV) whether it saves the wide registers.
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c"); }
bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

const KernelTable* find(const std::string& name) {
    std::string known;
    for (const InstructionSet& row : instruction_sets()) {
        if (row.available && (name.empty() || name == row.kernels->name)) return row.kernels;
        if (!known.empty()) known += ", ";
        known += std::string("'") + row.kernels->name + (row.available ? "'" : "' (not on this CPU)");
    }
    throw std::invalid_argument("set_instruction_set: expected one of " + known + ", got '" + name + "'");
}

std::atomic<const KernelTable*>& current() {
    static std::atomic<const KernelTable*> table = [] {
        const char* name = std::getenv("ELECTIONCODE_ISA");
        return find(name ? name : "");
    }();
    return table;
}

}  // namespace

const std::vector<InstructionSet>& instruction_sets() {
    static const std::vector<InstructionSet> rows = {
#ifdef ELECTIONCODE_X86
        {&kAvx512Kernels, has_avx512()},
        {&kAvx2Kernels, has_avx2()},
#endif
#ifdef ELECTIONCODE_ARM64
        {&kNeonKernels, true},  // part of the AArch64 base
#endif
        {&kScalarKernels, true},
    };
    return rows;
}

const KernelTable& kernels() { return *current().load(std::memory_order_relaxed); }

void set_instruction_set(const std::string& name) { current().store(find(name), std::memory_order_relaxed); }

}  // namespace electioncode
