"""Votes over a code on a device equal those on the host."""

from __future__ import annotations

import numpy as np
import pytest

import electioncode as ec
from electioncode import reference

torch = pytest.importorskip("torch")

from cuda_places import POLICIES, assert_votes, votes_of  # noqa: E402


def codes(rng):
    mixed = (rng.random((20, 33)) < 0.6).astype(np.uint8)
    mixed[4] = mixed[2]
    yield ec.uncoded(5)
    yield ec.repetition(15, 3)
    yield ec.deterministic(9, 2)
    yield ec.cyclic(49, 25)  # staged in blocks of 64, with masks of 32
    yield ec.AllocationCode(mixed)
    yield ec.bernoulli(130, redundancy=100, seed=1)  # with masks not staged; a long table
    idle = (rng.random((7, 300)) < 0.5).astype(np.uint8)
    idle[3] = 0
    yield ec.AllocationCode(idle)  # more than 8 planes with masks


@pytest.mark.parametrize("tie", POLICIES)
@pytest.mark.parametrize("masked", [False, True])
def test_coded_votes(place, rng, tie, masked):
    for code in codes(rng):
        d = 195 if code.num_partitions > 60 else 700
        votes = votes_of(rng, code.num_partitions, d, masked)
        local = ec.local_majorities(place.votes(votes), code, tie, seed=3, step=1)
        words, mask = reference.local_majorities(votes.words, code.allocation, d, tie, votes.mask, 3, 1)
        assert_votes(local, words, mask)
        winner = ec.coded_majority(place.votes(votes), code, tie, seed=3, step=1)
        assert_votes(winner, *reference.majority(words, d, tie, mask, None, 3, 1))
