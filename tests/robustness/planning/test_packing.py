"""Packings of sets, and the codes made of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from margins import tolerates

from electioncode.codes import deterministic
from electioncode.robustness import tolerance
from electioncode.robustness.planning import (
    constructions,
    packing,
)


def kills_too_many(sets: list[int], s: int, b: int) -> bool:
    """Return whether some v points kill more than v - b sets, by definition."""
    for points in range(1 << packing.num_points(s, b)):
        v = bin(points).count("1")
        killed = sum(2 * bin(points & x).count("1") > bin(x).count("1") for x in sets)
        if b <= v <= s + b and killed > v - b:
            return True
    return False


@pytest.mark.parametrize(("s", "b"), [(1, 1), (3, 1), (4, 1), (2, 2), (3, 2), (1, 3)])
def test_packings_are_what_codes_need(s, b):
    searcher = packing.Packing(s, b, seed=1)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(40):
        sets = [int(x) for x in rng.choice(searcher.candidates, int(rng.integers(1, s + 1)))]
        bad = kills_too_many(sets, s, b)
        seen.add(bad)
        assert bad == bool((searcher.slack(sets) < 0).any())
        for n in (2 * (s + b) + 1, 2 * (s + b)):
            code = packing.code_from_sets(n, n, b, sets, "sets")
            assert tolerates(code, b) != bad
            assert (tolerance(code).num_byzantine >= b) != bad
    assert seen == ({True, False} if s > 1 else {False})


@pytest.mark.parametrize(("s", "b"), [(3, 1), (5, 1), (4, 2)])
def test_search_finds_packings_and_adds_until_full(s, b):
    searcher = packing.Packing(s, b, seed=2)
    sets = searcher.search(0.3)
    assert not kills_too_many(sets, s, b)
    slack = searcher.slack(sets)
    addable = searcher.addable(slack, np.arange(len(searcher.candidates)), math.inf)
    assert not len(addable)
    assert all((slack - searcher.killed(int(x))).min() < 0 for x in searcher.candidates[:200])


@pytest.mark.parametrize(("n", "b"), [(9, 1), (15, 2), (15, 3), (31, 4)])
def test_algorithm_1_is_glued_of_single_sets(n, b):
    window = (1 << (2 * b + 1)) - 1
    sets, s = [window], 0
    while s + b + 1 <= (n - 1) // 2 - b:
        sets = packing.glue(sets, packing.num_points(s, b), [window], b)
        s += b + 1
    assert packing.code_from_sets(n, n, b, sets, "windows") == deterministic(n, b)


def test_glued_packings_hold():
    one, two = constructions.pack_sets(3, 1, 0.0), constructions.pack_sets(4, 1, 0.0)
    glued = packing.glue(one, packing.num_points(3, 1), two, 1)
    assert len(glued) == len(one) + len(two)
    assert not kills_too_many(glued, 9, 1)


@pytest.mark.parametrize(("n", "k", "b"), [(11, 9, 2), (10, 9, 1), (9, 11, 1), (8, 10, 1), (12, 10, 2), (9, 8, 1)])
def test_packed_codes_of_other_sizes(n, k, b):
    code = constructions.packed(n, k, b, 0.2)
    assert code is not None
    assert code.allocation.shape == (n, k)
    assert tolerates(code, b)
