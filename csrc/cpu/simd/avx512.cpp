// The kernels for one instruction set; only this file is compiled with its flags.
#include <immintrin.h>
#include <cstring>
#include <type_traits>

#include "../kernel_table.h"

#define ELECTIONCODE_SIMD "../simd/avx512.h"

namespace electioncode {
namespace {
#include "../kernels/body.h"
}  // namespace

const KernelTable kAvx512Kernels = {"avx512",     pack,        unpack,       update,    vote,       coded, accumulate,
                                   margin, differences, random_words, checksum,
                                   read_only, copy_words, read_and_rewrite};

}  // namespace electioncode
