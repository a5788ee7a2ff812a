// Which instruction set's kernels run: a table of rows, best first, chosen once and changeable by name.
#pragma once

#include <string>
#include <vector>

#include "kernel_table.h"

namespace electioncode {

struct InstructionSet {
    const KernelTable* kernels;
    bool available;  // this CPU and this operating system can run it
};

// Every row that was compiled in, best first; the last is "scalar".
const std::vector<InstructionSet>& instruction_sets();

// The kernels in use: the best available row, unless ELECTIONCODE_ISA or a call names another.
const KernelTable& kernels();

// Throws std::invalid_argument for a name that is unknown or not available; an empty name means the best.
void set_instruction_set(const std::string& name);

}  // namespace electioncode
