#include <immintrin.h>

#define ELECTIONCODE_SIMD "../simd/avx512.h"
#include "../kernels/body.h"

ELECTIONCODE_KERNELS(kAvx512Kernels, "avx512")
