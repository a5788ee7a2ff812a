// The majority of rows of bits: pick the way to count them.

// Vote where nobody has a weight: every coordinate is a tie.
static void vote_nobody(const VoteJob& job, size_t begin, size_t end) {
    const Word fill = job.tie == Tie::kPlus ? ~Word{0} : 0;
    if (job.tie == Tie::kRandom)
        random_words(job.random, job.out + (begin - job.out_first), job.first_word + begin, job.first_word + end);
    else
        for (size_t w = begin; w < end; ++w) job.out[w - job.out_first] = fill;
    if (job.tie == Tie::kAbstain) std::memset(job.out_mask + (begin - job.out_first), 0, (end - begin) * sizeof(Word));
    if (job.differences) count_differences(job, begin, end);
}

static DirectVote direct_vote(Tie tie, size_t n) {
    switch (tie) {
        case Tie::kPlus: return kVoteDirect<Tie::kPlus>.of[n];
        case Tie::kMinus: return kVoteDirect<Tie::kMinus>.of[n];
        case Tie::kRandom: return kVoteDirect<Tie::kRandom>.of[n];
        default: return kVoteDirect<Tie::kAbstain>.of[n];
    }
}

static void vote(const VoteJob& job, Word* scratch, size_t begin, size_t end) {
    if (begin >= end) return;
    if (job.maximum == 0) {
        vote_nobody(job, begin, end);
    } else if (job.plain && job.num_dots <= kDirectRows && !job.differences) {
        direct_vote(job.tie, job.num_dots)(job, begin, end);
    } else if (job.plain && job.num_dots <= kMaxByLine) {
        (job.num_dots <= kMaxUnrolled ? kVoteByLine.of[job.num_dots] : vote_by_line<0>)(job, begin, end);
    } else {
        vote_tiled(job, scratch, begin, end);
    }
    if (job.streams) stream_fence();
    const Word valid = valid_bits(job.d, end - 1);  // padding bits stay zero
    job.out[end - 1 - job.out_first] &= valid;
    if (job.out_mask) job.out_mask[end - 1 - job.out_first] &= valid;
}
