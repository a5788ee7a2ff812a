// The algorithms, once for every instruction set: simd/*.cpp includes this inside its own unnamed namespace,
// after <...> headers and with ELECTIONCODE_SIMD naming its primitives. Everything here has internal linkage.
#include "formats.h"

#include ELECTIONCODE_SIMD

#include "blocks.h"
#include "stream.h"
#include "philox.h"
#include "pack.h"
#include "tally.h"
#include "adders.h"
#include "vote_few.h"
#include "vote_many.h"
#include "vote.h"
#include "checksum.h"
#include "ceiling.h"
#include "code_votes.h"
