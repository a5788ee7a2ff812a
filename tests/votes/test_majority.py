"""Votes equal the reference bit for bit: any n, any d, all policies, weights, masks, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import electioncode as ec
from electioncode import reference

TIES = ["plus", "minus", "random", "abstain"]
LENGTHS = [0, 1, 63, 64, 65, 511, 512, 513, 1025, 9000]
VOTERS = [*range(1, 20), 31, 32, 33, 48, 49, 63, 64, 65, 101, 127, 128, 255, 256]


def votes_of(rng, n, d, masked=False) -> ec.PackedSigns:
    """n voters who lean to +1 on half of the coordinates, so that close votes and ties happen."""
    lean = rng.choice([0.3, 0.5, 0.7], d)
    bits = rng.random((n, d)) < lean
    mask = rng.random((n, d)) < 0.7 if masked else None
    words = reference.to_words(bits if mask is None else bits & mask)
    return ec.PackedSigns(words, d, None if mask is None else reference.to_words(mask))


def assert_vote(result, expected):
    words, mask = expected
    np.testing.assert_array_equal(result.words, words)
    assert (result.mask is None) == (mask is None)
    if mask is not None:
        np.testing.assert_array_equal(result.mask, mask)


@pytest.mark.parametrize("tie", TIES)
@pytest.mark.parametrize("n", VOTERS)
def test_majority_equals_reference(isa, rng, n, tie):
    for d in LENGTHS if n < 20 else (1, 65, 513, 2100):
        votes = votes_of(rng, n, d)
        result = ec.majority(votes, tie, seed=1, step=2, stream=3)
        assert_vote(result, reference.majority(votes.words, d, tie, None, None, 1, 2, 3))


@pytest.mark.parametrize("n", [511, 1023, 1024, 4095])
def test_many_voters(isa, rng, n):
    votes = votes_of(rng, n, 1100)
    for tie in ("plus", "abstain"):
        assert_vote(ec.majority(votes, tie), reference.majority(votes.words, 1100, tie))


@pytest.mark.parametrize("n", [1, 15, 16, 17, 64, 255, 4095])
def test_counters_at_their_limits(isa, n):
    """All for, all against, one more than half, and exactly half: where a carry is lost, this shows."""
    d = 700
    for yes in {0, n // 2, n // 2 + 1, n}:
        bits = np.zeros((n, d), dtype=bool)
        bits[:yes] = True
        votes = ec.PackedSigns(reference.to_words(bits), d)
        for tie in TIES:
            assert_vote(ec.majority(votes, tie), reference.majority(votes.words, d, tie))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("tie", TIES)
@pytest.mark.parametrize("n", [1, 2, 3, 8, 15, 16, 17, 40])
def test_weights_and_masks(isa, rng, n, tie, masked):
    for d in (1, 64, 577, 2100):
        votes = votes_of(rng, n, d, masked)
        for weights in (
            None,
            rng.integers(-3, 4, n),
            rng.integers(0, 1000, n),
            np.zeros(n, dtype=int),
            [2**34] * n,
        ):
            result = ec.majority(votes, tie, weights, seed=9, step=8)
            assert_vote(result, reference.majority(votes.words, d, tie, votes.mask, weights, 9, 8))


def test_rows_anywhere(isa, rng):
    """A sequence of voters, some masked, at odd addresses and in read-only memory, equals the 2-D vote."""
    d = 1000
    plain, masked = votes_of(rng, 4, d), votes_of(rng, 3, d, masked=True)
    rows = [plain[i] for i in range(4)] + [masked[i] for i in range(3)]
    buffer = np.frombuffer(b"\1" + plain.words[0].tobytes(), dtype=np.uint8)[1:]
    rows[0] = ec.PackedSigns(buffer.view(np.uint64), d)
    words = [r.words for r in rows]
    masks = [r.mask for r in rows]
    for tie in TIES:
        assert_vote(ec.majority(rows, tie), reference.majority(words, d, tie, masks))
    strided = ec.PackedSigns(np.asfortranarray(plain.words), d)
    assert ec.majority(strided) == ec.majority(plain)
    assert ec.majority(plain[::-1]) == ec.majority(plain)


def test_threads_do_not_change_a_bit(rng):
    votes = votes_of(rng, 6, 2_000_003)
    ec.set_num_threads(1)
    one = [ec.majority(votes, tie, seed=4) for tie in TIES]
    for n in (2, 3, 5):
        ec.set_num_threads(n)
        assert [ec.majority(votes, tie, seed=4) for tie in TIES] == one
    ec.set_num_threads(None)
    assert_vote(one[0], reference.majority(votes.words, votes.d))
    assert_vote(one[3], reference.majority(votes.words, votes.d, "abstain"))


def test_dirty_output(isa, rng):
    votes = votes_of(rng, 4, 700)
    dirty = rng.integers(0, 2**64, (2, 11), dtype=np.uint64)
    out = ec.PackedSigns(dirty[0], 700, dirty[1])
    assert ec.majority(votes, "abstain", out=out) is out
    assert_vote(out, reference.majority(votes.words, 700, "abstain"))


@pytest.mark.parametrize("tie", TIES)
@pytest.mark.parametrize("masked", [False, True])
def test_local_majorities_equal_reference(isa, threads, rng, tie, masked):
    """Rows of weight 0, 1, even, odd, all; more than 16 partitions per worker; k != n."""
    for k, n, d in ((5, 5, 100), (9, 4, 700), (40, 7, 3000), (3, 11, 65)):
        allocation = (rng.random((n, k)) < 0.5).astype(np.uint8)
        allocation[0] = 0
        allocation[-1] = 1
        code = ec.AllocationCode(allocation)
        votes = votes_of(rng, k, d, masked)
        result = ec.local_majorities(votes, code, tie, seed=3, step=1)
        assert result.shape == (n, d)
        assert_vote(result, reference.local_majorities(votes.words, allocation, d, tie, votes.mask, 3, 1))


def codes_that_share_work(rng):
    """Equal rows, neighbours that differ in two places, complements, and none of these."""
    heavy = np.ones((12, 40), dtype=np.uint8)
    heavy[np.arange(12), rng.integers(0, 40, 12)] = 0
    mixed = (rng.random((20, 33)) < 0.6).astype(np.uint8)
    mixed[7:11] = mixed[3]
    yield ec.repetition(15, 3)
    yield ec.cyclic(33, 21)
    yield ec.cyclic(49, 25)
    yield ec.deterministic(21, 2)
    yield ec.AllocationCode(heavy)
    yield ec.AllocationCode(mixed)
    yield ec.bernoulli(49, redundancy=3, seed=1)


@pytest.mark.parametrize("tie", TIES)
@pytest.mark.parametrize("masked", [False, True])
def test_shared_work_and_fused_votes(isa, threads, rng, tie, masked):
    for code in codes_that_share_work(rng):
        for d in (65, 1500, 9000):
            votes = votes_of(rng, code.num_partitions, d, masked)
            local = ec.local_majorities(votes, code, tie, seed=3, step=1)
            if d < 2000:
                expected = reference.local_majorities(votes.words, code.allocation, d, tie, votes.mask, 3, 1)
                assert_vote(local, expected)
            else:
                rows = [
                    ec.majority([votes[j] for j in code.partitions(i)], tie, seed=3, step=1, stream=i + 1)
                    for i in range(code.num_workers)
                ]
                assert all(local[i] == row for i, row in enumerate(rows))
            assert ec.coded_majority(votes, code, tie, seed=3, step=1) == ec.majority(local, tie, seed=3, step=1)


def test_an_idle_worker_abstains(isa, rng):
    """An idle worker changes nothing: the vote is the one without it, and the tolerance stays."""
    votes = votes_of(rng, 3, 700)
    alone = ec.repetition(9, 3)
    code = ec.AllocationCode(np.vstack([alone.allocation, np.zeros((1, 3), dtype=np.uint8)]))
    for tie in TIES:
        local = ec.local_majorities(votes, code, tie, seed=1)
        assert not local.mask[9].any() and not local.words[9].any()
        expected = ec.majority(ec.local_majorities(votes, alone, tie, seed=1), tie, seed=1)
        assert ec.majority(local, tie, seed=1) == expected
        assert ec.coded_majority(votes, code, tie, seed=1) == expected
    assert ec.tolerance(code).num_byzantine == ec.tolerance(alone).num_byzantine == 1


def test_coded_majority_of_empty_rows_and_many_threads(rng):
    allocation = (rng.random((7, 5)) < 0.4).astype(np.uint8)
    allocation[2] = 0
    code = ec.AllocationCode(allocation)
    votes = votes_of(rng, 5, 1_000_001)
    for tie in TIES:
        expected = ec.majority(ec.local_majorities(votes, code, tie, seed=1), tie, seed=1)
        for n in (1, 2, 5):
            ec.set_num_threads(n)
            assert ec.coded_majority(votes, code, tie, seed=1) == expected
    ec.set_num_threads(None)


@pytest.mark.parametrize("n", [1, 5, 17, 40])
def test_majority_with_disagreement(isa, threads, rng, n):
    for masked in (False, True):
        for d in (0, 1, 65, 30_000, 200_001):
            votes = votes_of(rng, n, d, masked)
            for tie in ("plus", "abstain"):
                winner, counts = ec.majority(votes, tie, return_disagreement=True)
                assert winner == ec.majority(votes, tie)
                np.testing.assert_array_equal(counts, ec.disagreement(votes, winner))


def test_disagreement_equals_reference(isa, threads, rng):
    for masked in (False, True):
        for d in (0, 1, 63, 64, 65, 513, 300_001):
            votes = votes_of(rng, 5, d, masked)
            for winner in (ec.majority(votes), ec.majority(votes, "abstain")):
                counts = ec.disagreement(votes, winner)
                assert counts.dtype == np.int64
                expected = reference.disagreement(votes.words, winner.words, d, votes.mask, winner.mask)
                np.testing.assert_array_equal(counts, expected)
                np.testing.assert_array_equal(ec.disagreement([votes[i] for i in range(5)], winner), expected)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_vote(data):
    n = data.draw(st.integers(1, 40), "n")
    d = data.draw(st.integers(0, 200), "d")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))
    votes = votes_of(rng, n, d, data.draw(st.booleans(), "masked"))
    weights = rng.integers(-5, 6, n) if data.draw(st.booleans(), "weighted") else None
    tie = data.draw(st.sampled_from(TIES), "tie")
    ec.set_instruction_set(data.draw(st.sampled_from(ec.instruction_sets()), "isa"))
    try:
        result = ec.majority(votes, tie, weights, seed=1)
    finally:
        ec.set_instruction_set(None)
    assert_vote(result, reference.majority(votes.words, d, tie, votes.mask, weights, 1))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda v: ec.majority(v, "up"),
            ValueError,
            "tie must be one of 'plus', 'minus', 'random', 'abstain', got 'up'",
        ),
        (lambda v: ec.majority(v[0]), ValueError, r"shape \(n, d\), got \(100,\)"),
        (lambda v: ec.majority([]), ValueError, "at least 1 voter"),
        (
            lambda v: ec.majority([v[0], ec.pack(np.zeros(99))]),
            ValueError,
            r"shape \(100,\) like the first, got \(99,\)",
        ),
        (lambda v: ec.majority(v, weights=[1, 2]), ValueError, "weights must be 3 integers"),
        (
            lambda v: ec.majority(v, weights=[1.0, 2.0, 3.0]),
            ValueError,
            "weights must be 3 integers, got float64",
        ),
        (lambda v: ec.majority(v, weights=[2**40, 1, 1]), ValueError, r"at most 2\*\*40"),
        (lambda v: ec.majority(v, seed=-1), ValueError, "seed must be from 0"),
        (lambda v: ec.majority(v, out=v), ValueError, r"out must have shape \(100,\)"),
        (lambda v: ec.local_majorities(v, ec.uncoded(4)), ValueError, "4 rows, one per partition, got 3"),
        (lambda v: ec.local_majorities(v[0], ec.uncoded(4)), ValueError, r"shape \(k, d\)"),
        (lambda v: ec.disagreement(v, v), ValueError, r"winner must have shape \(100,\)"),
    ],
)
def test_bad_input(rng, call, error, message):
    with pytest.raises(error, match=message):
        call(votes_of(rng, 3, 100))
