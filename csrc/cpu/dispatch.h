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

// Return every row that was compiled in, best first; the last is "scalar".
const std::vector<InstructionSet>& instruction_sets();

// Return the kernels in use: the best available row, unless ELECTIONCODE_ISA or a call names another.
const KernelTable& kernels();

// Choose a row; an empty name means the best. Throws std::invalid_argument for one that is unknown or not available.
void set_instruction_set(const std::string& name);

}  // namespace electioncode
