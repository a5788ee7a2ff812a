"""The shipped table of best known codes: every entry is what it says."""

from __future__ import annotations

import numpy as np
import pytest
from margins import tolerates

from electioncode.codes import deterministic
from electioncode.robustness import tolerance
from electioncode.robustness.planning import (
    best_known,
    constructions,
    limits,
    share,
    table,
)

ALL = [(n, b) for b in range(1, table.MAX_BYZANTINE + 1) for n in range(2 * b + 1, table.MAX_WORKERS + 1)]


def check_table_entry(n: int, b: int) -> None:
    load, light = best_known(n, b), best_known(n, b, "redundancy")
    for code in (load, light):
        answer = tolerance(code)
        assert answer.exact
        assert answer.num_byzantine >= b
        if code.num_partitions <= 17:
            assert tolerates(code, b)
    k = load.num_partitions
    assert load.max_load >= (limits.smallest_load(n, b, k) or 0)
    copied = constructions.copies(n, 1 if n < 3 * (2 * b + 1) else 3, b)
    assert copied is not None
    assert share(load) <= share(copied)
    assert light.allocation.shape == (n, n)
    assert light.allocation.any(axis=1).all()
    assert light.num_ones >= (2 * b + 1) * n
    if n % 2:
        assert light.num_ones <= deterministic(n, b).num_ones


@pytest.mark.parametrize(("n", "b"), [(n, b) for n, b in ALL if n <= 15])
def test_table_of_few_workers(n, b):
    check_table_entry(n, b)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "b"), [(n, b) for n, b in ALL if n > 15])
def test_table_of_many_workers(n, b):
    check_table_entry(n, b)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "b"), [(n, b) for n, b in ALL if 15 < n <= 23])
def test_table_by_the_other_method(n, b):
    for kind in ("max_load", "redundancy"):
        code = best_known(n, b, kind)
        assert tolerance(code, method="ilp").num_byzantine == tolerance(code, method="exhaustive").num_byzantine


@pytest.mark.slow
def test_packings_of_the_table_by_definition():
    # No code of the package: every set of points, the sets of the packing that it kills, and what it may kill.
    for key, sets in table.data()["packings"].items():
        s, b = map(int, key.split(","))
        points = np.arange(1 << (s + 2 * b + 1), dtype=np.uint32)
        v = sum((points >> j & 1).astype(np.int8) for j in range(s + 2 * b + 1))
        killed = np.zeros(points.size, dtype=np.int8)
        for x in sets:
            members = [j for j in range(s + 2 * b + 1) if x >> j & 1]
            killed += 2 * sum((points >> j & 1).astype(np.int8) for j in members) > len(members)
        deciding = (v >= b) & (v <= s + b)
        assert (killed[deciding] <= v[deciding] - b).all(), key


def test_table_is_complete():
    assert len(ALL) == sum(31 - 2 * b for b in range(1, 8))
    for n, b in ALL:
        assert best_known(n, b).num_workers == n
        assert best_known(n, b, "redundancy").num_workers == n


def test_table_beats_algorithm_1():
    better = [
        (n, b) for n, b in ALL if n % 2 and best_known(n, b, "redundancy").num_ones < deterministic(n, b).num_ones
    ]
    assert {(9, 1), (9, 2), (15, 3), (31, 7)} <= set(better)
    assert best_known(9, 1, "redundancy").num_ones == 41
    assert best_known(9, 2, "redundancy").num_ones == 59


def test_table_errors():
    with pytest.raises(ValueError, match=r"best_known: num_workers must be in 3\.\.31, got 32"):
        best_known(32, 1)
    with pytest.raises(ValueError, match=r"num_byzantine must be in 1\.\.2, got 3"):
        best_known(6, 3)
    with pytest.raises(ValueError, match="kind must be one of"):
        best_known(9, 1, "x")
