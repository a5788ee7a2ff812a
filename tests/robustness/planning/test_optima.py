"""Proven small optima, and bounds that hold for every code."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from margins import least_margins, tolerates

from electioncode import bounds
from electioncode.codes import AllocationCode
from electioncode.robustness import TIES, tolerance
from electioncode.robustness.planning import (
    best_known,
    limits,
    row_types,
)


@pytest.mark.parametrize(("n", "b", "ones"), [(5, 1, 19), (7, 1, 29), (7, 2, 41)])
def test_small_optima_without_idle_workers(n, b, ones):
    solved = row_types.lightest(n, b, n, n, allow_idle=False)
    assert solved.proven
    assert solved.matrix is not None
    assert solved.matrix.sum() == ones
    assert tolerates(AllocationCode(solved.matrix), b)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "b", "ones"), [(9, 1, 41), (9, 2, 59), (9, 3, 71)])
def test_optima_of_9_workers_are_in_the_table(n, b, ones):
    solved = row_types.lightest(n, b, n, n, allow_idle=False, time_limit=600)
    assert solved.proven
    assert solved.matrix is not None
    assert solved.matrix.sum() == best_known(n, b, "redundancy").num_ones == ones


@pytest.mark.parametrize(
    ("n", "b", "k", "cap", "exists"),
    [(8, 1, 4, 3, True), (8, 1, 5, 3, False), (7, 1, 7, 5, False), (10, 1, 3, 1, True), (19, 3, 5, 3, True)],
)
def test_whether_a_load_is_possible(n, b, k, cap, exists):
    solved = row_types.lightest(n, b, k, cap)
    assert solved.proven
    assert (solved.matrix is not None) == exists
    if solved.matrix is not None:
        code = AllocationCode(solved.matrix)
        assert code.max_load <= cap
        assert tolerates(code, b)


def test_integer_program_against_every_code_of_three_workers():
    # All 8^3 codes of 3 partitions: the fewest ones with tolerance b, by definition.
    rows = [[m >> j & 1 for j in range(3)] for m in range(8)]
    for b in (0, 1):
        fewest = min(
            code.num_ones
            for chosen in itertools.combinations_with_replacement(rows, 3)
            if tolerates(code := AllocationCode(np.array(chosen)), b)
        )
        solved = row_types.lightest(3, b, 3, 3)
        assert solved.matrix is not None
        assert solved.matrix.sum() == fewest


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_even_rows_of_an_odd_number_of_partitions_can_be_thinned(data):
    # The lemma that lets the integer program look at odd rows only (unless ties abstain).
    k = data.draw(st.sampled_from([1, 3, 5]))
    rows = data.draw(st.lists(st.integers(1, 2**k - 1), min_size=3, max_size=7))
    matrix = np.array([[row >> j & 1 for j in range(k)] for row in rows])
    thinned = matrix.copy()
    for row in thinned:
        if row.sum() % 2 == 0:
            row[data.draw(st.sampled_from(np.flatnonzero(row).tolist()))] = 0
    for tie in ("plus", "minus", "random"):
        before, after = (tolerance(AllocationCode(m), tie).num_byzantine for m in (matrix, thinned))
        assert after >= before


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_code_beats_the_bounds(data):
    n, k = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 6))
    # Heavy rows, or next to none of the codes tolerates anybody.
    heavy = st.sampled_from([2**k - 1, 2**k - 2, (1 << (k + 1) // 2) - 1])
    rows = data.draw(st.lists(heavy | st.integers(0, 2**k - 1), min_size=n, max_size=n))
    code = AllocationCode([[row >> j & 1 for j in range(k)] for row in rows])
    for tie in TIES:
        b = tolerance(code, tie).num_byzantine
        if b < 0:
            continue
        if tie != "random" or k % 2:
            assert code.allocation.sum(axis=0).min() >= bounds.smallest_copies(b)
        load = limits.smallest_load(n, b, k, tie)
        assert load is not None
        assert load <= code.max_load


def test_the_mean_bound_is_reached_by_a_design():
    # All 10 sets of 3 of 5 partitions: every sign vector of the layer has the mean margin, 4.
    rows = [[int(j in chosen) for j in range(5)] for chosen in itertools.combinations(range(5), 3)]
    code = AllocationCode(rows * 2)
    assert least_margins(code) == (8, 8)
    assert tolerance(code).num_byzantine == 3
    assert limits.smallest_load(20, 3, 5) == 3
    assert limits.smallest_load(17, 3, 5) == 5


def test_the_mean_bound_for_single_copies():
    assert limits.smallest_load(9, 1, 3) == 1
    assert limits.smallest_load(8, 1, 3) == 3
    assert limits.smallest_load(12, 2, 6, "abstain") is None
    assert limits.smallest_load(1000, 7, 501) == math.ceil(15 * 501 / 1000)
