"""Majorities on a device equal the reference bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import electioncode as ec
from electioncode import reference

torch = pytest.importorskip("torch")

from cuda_places import POLICIES, assert_votes, votes_of  # noqa: E402


@pytest.mark.parametrize("tie", POLICIES)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 15, 16, 17, 32, 63, 64, 100, 255])
def test_majority(place, rng, n, tie):
    for d in (1, 64, 65, 700):
        votes = votes_of(rng, n, d)
        winner = ec.majority(place.votes(votes), tie, seed=1, step=2, stream=3)
        assert_votes(winner, *reference.majority(votes.words, d, tie, None, None, 1, 2, 3))


@pytest.mark.parametrize("n", [1, 15, 16, 63, 64, 460, 461, 1023, 1024, 4095])
def test_counters_at_their_limits(place, n):
    """All for, one more than half, half, all against: where a carry is lost, this shows. Long tables are uploaded."""
    d = 130
    for yes in sorted({0, n // 2, n // 2 + 1, n}):
        words = np.zeros((n, 3), dtype=np.uint64)
        words[:yes] = reference.to_words(np.ones(d, dtype=bool))
        mask = np.broadcast_to(reference.to_words(np.ones(d, dtype=bool)), words.shape).copy()
        score = 2 * yes - n
        for votes in (ec.PackedSigns(words, d), ec.PackedSigns(words, d, mask)):
            there = place.votes(votes)
            for tie in ("plus", "minus"):
                expected = score > 0 or (score == 0 and tie == "plus")
                assert (ec.majority(there, tie).unpack(torch.int8) == (1 if expected else -1)).all()
            assert (ec.majority(there, "abstain").unpack(torch.int8) == np.sign(score)).all()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("tie", POLICIES)
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 40])
def test_weights_and_masks(place, rng, n, tie, masked):
    for d in (1, 577):
        votes = votes_of(rng, n, d, masked)
        for weights in (
            None,
            rng.integers(-3, 4, n),
            rng.integers(0, 1000, n),
            np.zeros(n, dtype=int),
            [2**40 // n - 1] * n,
            [2**38, -(2**38), *[1] * (n - 2)] if n > 1 else [2**40],
        ):
            winner = ec.majority(place.votes(votes), tie, weights, seed=9, step=8)
            assert_votes(winner, *reference.majority(votes.words, d, tie, votes.mask, weights, 9, 8))


def test_rows_anywhere(place, rng):
    plain, masked = votes_of(rng, 4, 1000), votes_of(rng, 3, 1000, masked=True)
    rows = [plain[i] for i in range(4)] + [masked[i] for i in range(3)]
    there = [place.votes(row) for row in rows]
    words, masks = [r.words for r in rows], [r.mask for r in rows]
    for tie in POLICIES:
        assert_votes(ec.majority(there, tie), *reference.majority(words, 1000, tie, masks))
    winner, counts = ec.majority(there, "abstain", return_disagreement=True)
    result, voted = winner.numpy()
    expected = reference.disagreement(words, result, 1000, masks, voted)
    np.testing.assert_array_equal(counts.cpu().numpy(), expected)
    assert counts.dtype == torch.int64
