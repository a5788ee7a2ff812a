#define ELECTIONCODE_SIMD "../simd/scalar.h"
#include "../kernels/body.h"

ELECTIONCODE_KERNELS(kScalarKernels, "scalar")
