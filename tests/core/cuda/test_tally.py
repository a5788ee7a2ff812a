"""Tallies on a device equal those on the host."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import electioncode as ec
from electioncode import reference

torch = pytest.importorskip("torch")

from cuda_places import POLICIES, assert_votes  # noqa: E402


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_tally(place, data):
    """Masked and unmasked votes, floats, positive, negative and zero weights, in any order, from device and host."""
    d = data.draw(st.integers(0, 150))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    weights = data.draw(st.lists(st.integers(-20, 20), min_size=1, max_size=30))
    tally = ec.Tally(d, sum(map(abs, weights)) + 1)
    expected = np.zeros(d, dtype=np.int64)
    for i, w in enumerate(weights):
        x = rng.standard_normal(d).astype(np.float32)
        x[rng.random(d) < 0.3] = 0
        zero = data.draw(st.sampled_from(POLICIES))
        signs = ec.pack(x, zero, seed=5, step=6, stream=7)
        kind = data.draw(st.sampled_from(["floats", "votes", "host"])) if i else "votes"
        if kind == "floats":
            tally.add(place.floats(x), w, zero=zero, seed=5, step=6, stream=7)
        else:
            tally.add(signs if kind == "host" else place.votes(signs), w)
        expected += w * signs.unpack(np.int8).astype(np.int64)
    margin = tally.margin()
    assert margin.dtype == torch.int32
    np.testing.assert_array_equal(margin.cpu().numpy(), expected)
    at_tie = reference.random_bits(d, 2, 3, 4, 0)
    winner = tally.majority("random", seed=2, step=3, stream=4)
    assert_votes(winner, reference.to_words(np.where(expected == 0, at_tie, expected > 0)), None)
    tally.reset()
    tally.add(ec.pack(rng.standard_normal(d)))  # on the host: the counters move there
    assert tally.majority().backend.name == "numpy"


def test_tally_of_large_weights(place, rng):
    votes = ec.pack(rng.standard_normal((3, 100)))
    tally = ec.Tally(100, 2**40)
    weights = [2**38, -(2**38) + 1, 1]
    for i, weight in enumerate(weights):
        tally.add(place.votes(votes[i]), weight)
    assert_votes(tally.majority(), ec.majority(votes, weights=weights).words, None)
