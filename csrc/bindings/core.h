// The parts of the module _core: check, release the GIL, call. Documented in electioncode/core/_core.pyi.
#pragma once

#include "arrays.h"

namespace electioncode::bindings {

void define_tensors(py::module_& m);
void define_votes(py::module_& m);

}  // namespace electioncode::bindings
