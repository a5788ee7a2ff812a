#include <arm_neon.h>

#define ELECTIONCODE_SIMD "../simd/neon.h"
#include "../kernels/body.h"

ELECTIONCODE_KERNELS(kNeonKernels, "neon")
