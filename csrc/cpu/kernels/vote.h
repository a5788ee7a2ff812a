// The majority of rows of bits: picks the way to count them. Included inside the namespace of its instruction set.

// Nobody has a weight: every coordinate is a tie.
static void vote_nobody(const VoteJob& job, std::size_t begin, std::size_t end) {
    const Word fill = job.tie == Tie::kPlus ? ~Word{0} : 0;
    if (job.tie == Tie::kRandom) {
        random_words(job.random, job.out + (begin - job.out_first), job.first_word + begin, job.first_word + end);
    } else {
        for (std::size_t w = begin; w < end; ++w) job.out[w - job.out_first] = fill;
    }
    if (job.tie == Tie::kAbstain) std::memset(job.out_mask + (begin - job.out_first), 0, (end - begin) * sizeof(Word));
    if (job.differences) count_differences(job, begin, end);
}

static void vote(const VoteJob& job, Word* scratch, std::size_t begin, std::size_t end) {
    if (begin >= end) return;
    if (job.maximum == 0) {
        vote_nobody(job, begin, end);
    } else if (job.plain && job.num_dots <= kDirectRows && !job.differences) {
        const std::size_t n = job.num_dots;
        const DirectVote direct = job.tie == Tie::kPlus     ? direct_vote<Tie::kPlus>(n)
                                  : job.tie == Tie::kMinus  ? direct_vote<Tie::kMinus>(n)
                                  : job.tie == Tie::kRandom ? direct_vote<Tie::kRandom>(n)
                                                            : direct_vote<Tie::kAbstain>(n);
        direct(job, begin, end);
    } else if (job.plain && job.num_dots <= kMaxByLine) {
        kVoteByLine[job.num_dots <= kMaxUnrolled ? job.num_dots : 0](job, begin, end);
    } else {
        vote_tiled(job, scratch, begin, end);
    }
    if (job.streams) stream_fence();
    if (end == (job.d + kWordBits - 1) / kWordBits && job.d % kWordBits) {  // padding bits stay zero
        const Word valid = (Word{1} << (job.d % kWordBits)) - 1;
        job.out[end - 1 - job.out_first] &= valid;
        if (job.out_mask) job.out_mask[end - 1 - job.out_first] &= valid;
    }
}
