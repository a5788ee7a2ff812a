"""Packing on a device equals the reference bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import electioncode as ec
from electioncode import reference

torch = pytest.importorskip("torch")

from cuda_places import DTYPES, LENGTHS, POLICIES, assert_votes, example, name  # noqa: E402


@pytest.mark.parametrize("dtype", DTYPES, ids=name)
@pytest.mark.parametrize("nan", ["raise", "minus", "abstain"])
@pytest.mark.parametrize("zero", POLICIES)
def test_pack(place, rng, dtype, zero, nan):
    for d in LENGTHS:
        x = example(rng, d, dtype, nan != "raise")
        votes = ec.pack(place.floats(x), zero, nan, seed=5, step=7, stream=11)
        assert_votes(votes, *reference.pack(x, zero, nan, 5, 7, 11))


@pytest.mark.parametrize("dtype", DTYPES, ids=name)
def test_pack_rows_strides_and_alignment(place, rng, dtype):
    x = example(rng, 5 * 2200, dtype).reshape(5, 2200)
    t = place.floats(x)
    for ours, theirs in ((t, x), (t[:, 1:], x[:, 1:]), (t[::2], x[::2]), (t.t(), x.T), (t[:, ::3], x[:, ::3])):
        votes = ec.pack(ours, "random", seed=1, step=2, stream=2**32 - 2)
        rows = [reference.pack(r, "random", "raise", 1, 2, (2**32 - 2 + i) % 2**32)[0] for i, r in enumerate(theirs)]
        assert_votes(votes, np.stack(rows), None)
    out = ec.PackedSigns(place.words(np.full((5, 35), 2**64 - 1, dtype=np.uint64)), 2200)
    assert ec.pack(t, out=out) is out
    assert_votes(out, np.stack([reference.pack(row)[0] for row in x]), None)


def test_many_rows_take_several_launches(place, rng):
    x = rng.standard_normal((200, 70)).astype(np.float32)
    assert_votes(ec.pack(place.floats(x)), np.stack([reference.pack(row)[0] for row in x]), None)


def test_nan_is_raised_later(place, rng):
    x = rng.standard_normal(1000).astype(np.float32)
    x[999] = np.nan
    ec.pack(place.floats(x), nan="minus")
    ec.synchronize()
    votes = ec.pack(place.floats(x))
    with pytest.raises(ValueError, match=r"earlier call on .* was given NaN"):
        ec.synchronize()
    ec.synchronize()  # once
    ec.pack(place.floats(x))
    with pytest.raises(ValueError, match=r"earlier call on .* was given NaN"):
        votes.numpy()
    tally = ec.Tally(1000, 3)
    tally.add(place.floats(x))
    tally.add(votes)
    with pytest.raises(ValueError, match=r"earlier call on .* was given NaN"):
        tally.majority().to_bytes()
    assert tally.num_votes == 2
