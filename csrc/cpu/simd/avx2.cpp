#include <immintrin.h>

#define ELECTIONCODE_SIMD "../simd/avx2.h"
#include "../kernels/body.h"

ELECTIONCODE_KERNELS(kAvx2Kernels, "avx2")
