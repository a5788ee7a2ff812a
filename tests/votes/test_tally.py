"""A Tally gives, after every vote, what majority() of all votes so far gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import electioncode as ec
from electioncode import reference

TIES = ["plus", "minus", "random", "abstain"]


def test_every_prefix(isa, rng):
    n, d = 40, 1100
    x = rng.standard_normal((n, d)).astype(np.float32)
    x[rng.random((n, d)) < 0.2] = 0
    votes = ec.pack(x, "abstain")
    tally = ec.Tally(d, n)
    np.testing.assert_array_equal(tally.margin(), 0)
    for i in range(n):
        tally.add(votes[i])
        np.testing.assert_array_equal(tally.margin(), reference.scores(votes.words[: i + 1], d, votes.mask[: i + 1]))
        for tie in TIES:
            assert tally.majority(tie, seed=1, step=i, stream=4) == ec.majority(
                votes[: i + 1], tie, seed=1, step=i, stream=4
            )
    assert tally.num_votes == tally.total_weight == n
    tally.reset()
    np.testing.assert_array_equal(tally.margin(), 0)
    tally.add(votes[3])
    assert tally.majority("abstain") == votes[3]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_mixed_votes(data):
    """Masked and unmasked votes, floats, positive, negative and zero weights, in any order."""
    d = data.draw(st.integers(0, 150))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    weights = data.draw(st.lists(st.integers(-20, 20), min_size=1, max_size=30))
    tally = ec.Tally(d, sum(map(abs, weights)) + 1)
    expected = np.zeros(d, dtype=np.int64)
    for w in weights:
        x = rng.standard_normal(d)
        x[rng.random(d) < 0.3] = 0
        zero = data.draw(st.sampled_from(["plus", "minus", "abstain", "random"]))
        signs = ec.pack(x, zero, seed=5, step=6, stream=7)
        if data.draw(st.booleans()):
            tally.add(x, w, zero=zero, seed=5, step=6, stream=7)
        else:
            tally.add(signs, w)
        expected += w * signs.unpack(np.int8).astype(np.int64)
    np.testing.assert_array_equal(tally.margin(), expected)
    assert tally.margin().dtype == np.int32
    at_tie = reference.random_bits(d, 2, 3, 4, 0)
    winner = tally.majority("random", seed=2, step=3, stream=4).unpack()
    np.testing.assert_array_equal(winner > 0, np.where(expected == 0, at_tie, expected > 0))


def test_adding_does_not_keep_the_vote(isa, rng):
    """The caller may reuse its buffer at once."""
    x = rng.standard_normal((9, 700)).astype(np.float32)
    votes, tally, buffer = ec.pack(x), ec.Tally(700, 9), ec.pack(x[0])
    for row in x:
        ec.pack(row, out=buffer)
        tally.add(buffer)
    buffer.words[:] = 0
    assert tally.majority() == ec.majority(votes)


def test_large_weights(isa, rng):
    votes = ec.pack(rng.standard_normal((3, 100)))
    tally = ec.Tally(100, 2**40)
    weights = [2**38, -(2**38) + 1, 1]
    for vote, weight in zip(votes, weights, strict=True):
        tally.add(vote, weight)
    assert tally.majority() == ec.majority(votes, weights=weights)
    with pytest.raises(OverflowError, match=r"less than 2\*\*30"):
        tally.margin()


def test_memory_is_bounded(rng):
    """Two rows per plane suffice, whatever the number of votes; and none is copied when the count is read."""
    votes = ec.pack(rng.standard_normal((2, 640)))
    tally = ec.Tally(640, 1000)
    for i in range(1000):
        tally.add(votes[i % 2])
    rows, planes = tally._counters()
    assert len(rows) + len(tally._free) <= 2 * (2 * 1000).bit_length()
    assert planes == sorted(planes)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ec.Tally(-1, 3), ValueError, "d must be at least 0"),
        (lambda: ec.Tally(3, 0), ValueError, r"max_votes must be from 1 to 2\*\*40, got 0"),
        (lambda: ec.Tally(3, 2).add(np.zeros(4)), ValueError, r"shape \(3,\), got \(4,\)"),
        (lambda: ec.Tally(3, 2).add(ec.pack(np.zeros(4))), ValueError, r"shape \(3,\), got \(4,\)"),
        (lambda: ec.Tally(3, 2).add(np.zeros(3), 3), ValueError, "at most max_votes = 2, got 3"),
        (lambda: ec.Tally(3, 2).add(np.zeros(3), 1.0), TypeError, "weight must be an integer, got float"),
        (lambda: ec.Tally(3, 2).add([0, 0, 0]), TypeError, "got list"),
        (lambda: ec.Tally(3, 2).add(np.full(3, np.nan)), ValueError, "NaN"),
        (lambda: ec.Tally(3, 2).majority("up"), ValueError, "tie must be one of"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_rejected_vote_is_not_counted(rng):
    tally = ec.Tally(100, 3)
    tally.add(rng.standard_normal(100))
    before = tally.margin()
    for bad in (np.full(100, np.nan), np.zeros(99)):
        with pytest.raises(ValueError):
            tally.add(bad)
    np.testing.assert_array_equal(tally.margin(), before)
    assert tally.num_votes == 1
