"""The planner: what it finds, certifies and refuses."""

from __future__ import annotations

from fractions import Fraction

import pytest
from margins import tolerates

from electioncode.codes import bernoulli, deterministic, repetition, uncoded
from electioncode.robustness import TIES, tolerance
from electioncode.robustness.planning import (
    best_known,
    candidates,
    mean_share,
    plan,
    share,
)


@pytest.mark.parametrize(
    ("n", "b", "expected"),
    [(15, 2, Fraction(1, 3)), (15, 3, 1), (8, 1, Fraction(3, 4)), (19, 3, Fraction(3, 5)), (35, 3, Fraction(1, 5)),
     (40, 7, Fraction(3, 5)), (7, 0, Fraction(1, 7)), (8, 0, Fraction(1, 8)), (31, 7, 1)],
)  # fmt: skip
def test_plan_for_the_smallest_load(n, b, expected):
    code = plan(n, b, time_limit=10)
    assert share(code) == expected
    assert code.num_byzantine is not None
    assert code.num_byzantine >= b
    assert tolerance(code).num_byzantine == code.num_byzantine


@pytest.mark.parametrize("tie", TIES)
def test_plan_certifies_for_the_tie_policy(tie):
    for n, b in [(9, 1), (12, 2), (14, 2)]:
        code = plan(n, b, tie=tie, time_limit=3)
        assert tolerance(code, tie).num_byzantine >= b


def test_plan_redundancy_is_2b_plus_1_copies():
    code = plan(21, 2, objective="redundancy")
    assert mean_share(code) == Fraction(5, 21)
    assert share(code) == Fraction(1, 3)
    # With as many partitions as workers and nobody idle it is the problem of Algorithm 1.
    code = plan(13, 2, 13, objective="redundancy", allow_idle=False, time_limit=1)
    assert code.num_ones == best_known(13, 2, "redundancy").num_ones < deterministic(13, 2).num_ones
    assert code.allocation.any(axis=1).all()


def test_plan_under_a_largest_load():
    code = plan(13, 2, max_load=0.75, objective="redundancy")
    assert share(code) <= Fraction(3, 4)
    code = plan(8, 1, 4, max_load=3)
    assert code.max_load == 3
    assert plan(20, 3, objective="balanced").max_load == 3


def test_plan_without_idle_workers():
    assert not plan(10, 1).allocation.any(axis=1).all()
    busy = plan(10, 1, allow_idle=False)
    assert busy.allocation.any(axis=1).all()
    assert tolerance(busy).num_byzantine >= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((6, 3), r"no code of 6 workers tolerates 3: .*2 b \+ 1 = 7 workers are needed"),
        ((9, 2, None, 0.5), r"every partition needs 2 b \+ 1 = 5 copies .* at least 5/9 of the batch"),
        ((9, 2, None, 0.6), r"for every k up to 31 the mean of the votes"),
        ((9, 1, 9, 5), r"the mean of the votes .* needs a load of at least 7 partitions"),
        ((9, 1, 3, 0.2), r"2 b \+ 1 = 3 copies of 3 partitions on 9 workers .* at least 1 partitions"),
        ((45, 2, 15, 1), r"2 b \+ 1 = 5 copies of 15 partitions on 45 workers .* at least 2 partitions|mean"),
        ((9, -1), r"num_byzantine must be in 0\.\.4095, got -1"),
        ((9, 1, 0), r"num_partitions must be in 1\.\.4095, got 0"),
        ((9, 1, None, 1.5), r"max_load as a share of the batch must be in \(0, 1\], got 1.5"),
        ((9, 1, None, 0), r"max_load must be in 1\.\.4095, got 0"),
        ((9, 1, None, None, "x"), "objective must be one of 'max_load', 'redundancy', 'balanced', got 'x'"),
    ],
)
def test_plan_says_what_forbids_it(arguments, message):
    with pytest.raises(ValueError, match=message):
        plan(*arguments)


def test_plan_says_that_nothing_forbids_it():
    with pytest.raises(ValueError, match="though no bound excludes one"):
        plan(7, 1, 7, 5, time_limit=5)
    with pytest.raises(ValueError, match="take an odd number of partitions"):
        plan(12, 2, 6, tie="abstain")


def test_candidates_are_sorted_and_certified():
    found = candidates(15, 2)
    assert [c.share for c in found] == sorted(c.share for c in found)
    assert {c.source for c in found} >= {"copies", "packing", "Algorithm 1"}
    for candidate in found:
        assert candidate.certificate.num_byzantine >= 2
        assert tolerates(candidate.code, 2)
    assert len({c.code for c in found}) == len(found)


@pytest.mark.parametrize("code", [uncoded(7), repetition(9, 3), bernoulli(7, 3)], ids=repr)
def test_shares(code):
    assert share(code) == Fraction(code.max_load, code.num_partitions)
    assert float(mean_share(code)) == pytest.approx(code.redundancy / code.num_partitions)
