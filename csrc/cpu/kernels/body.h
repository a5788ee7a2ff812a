// The algorithms, once for every instruction set. A unit of simd/ includes this with ELECTIONCODE_SIMD naming its
// primitives; everything but the table has internal linkage.
#include <cstring>
#include <type_traits>
#include <utility>

#include "../../half.h"
#include "../kernel_table.h"

namespace electioncode {
namespace {

// clang-format off: each builds on those before
#include "expand.h"
#include ELECTIONCODE_SIMD
#include "blocks.h"
#include "stream.h"
#include "philox.h"
#include "pack.h"
#include "adders.h"
#include "tally.h"
#include "disagreement.h"
#include "vote_few.h"
#include "vote_many.h"
#include "vote.h"
#include "checksum.h"
#include "ceiling.h"
#include "code_votes.h"
// clang-format on

}  // namespace
}  // namespace electioncode

#define ELECTIONCODE_ENTRY(result, kernel, ...) .kernel = kernel,
#define ELECTIONCODE_KERNELS(table, isa)                                \
    const electioncode::KernelTable electioncode::table = {.name = isa, \
                                                           ELECTIONCODE_FOR_EACH_KERNEL(ELECTIONCODE_ENTRY)};
