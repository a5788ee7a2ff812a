"""Disagreement on a device equals the reference."""

from __future__ import annotations

import numpy as np
import pytest

import electioncode as ec
from electioncode import reference

torch = pytest.importorskip("torch")

from cuda_places import votes_of  # noqa: E402


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("n", [1, 3, 250])
def test_disagreement(place, rng, n, masked):
    for d in (1, 64, 40_000):
        votes = votes_of(rng, n, d, masked)
        for winner in (votes_of(rng, 1, d)[0], votes_of(rng, 1, d, True)[0]):
            counts = ec.disagreement(place.votes(votes), place.votes(winner))
            expected = reference.disagreement(votes.words, winner.words, d, votes.mask, winner.mask)
            np.testing.assert_array_equal(counts.cpu().numpy(), expected)
