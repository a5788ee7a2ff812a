"""The planner: proven small optima, bounds that hold, packings, the shipped table and the command."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electioncode import bounds
from electioncode.codes import AllocationCode, bernoulli, deterministic, repetition, uncoded
from electioncode.lab.cli.main import main
from electioncode.robustness import TIES, tolerance
from electioncode.robustness.planning import (
    best_known,
    candidates,
    constructions,
    limits,
    mean_share,
    packing,
    plan,
    row_types,
    share,
    table,
)

ALL = [(n, b) for b in range(1, table.MAX_BYZANTINE + 1) for n in range(2 * b + 1, table.MAX_WORKERS + 1)]


def least_margins(code: AllocationCode) -> tuple[int, int]:
    """Least |sum of votes| towards the truth for +1 and for -1 under tie "plus", in plain NumPy, all layers."""
    k = code.num_partitions
    signs = 2 * (np.arange(2**k)[:, None] >> np.arange(k) & 1).astype(np.int16) - 1
    sums = signs @ code.allocation.T.astype(np.int16)
    votes = np.where(sums >= 0, 1, -1) * code.allocation.any(axis=1)
    total, truth = votes.sum(axis=1), signs.sum(axis=1) >= 0
    return int(total[truth].min()), int(-total[~truth].max())


def tolerates(code: AllocationCode, b: int) -> bool:
    plus, minus = least_margins(code)
    return plus >= 2 * b and minus >= 2 * b + 1


# --- proven optima -----------------------------------------------------------------------------------------


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


# --- bounds ------------------------------------------------------------------------------------------------


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


# --- packings ----------------------------------------------------------------------------------------------


def kills_too_many(sets: list[int], s: int, b: int) -> bool:
    """By definition: some v points kill more than v - b sets."""
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


# --- the table ---------------------------------------------------------------------------------------------


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


# --- plan --------------------------------------------------------------------------------------------------


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


# --- the command -------------------------------------------------------------------------------------------


def test_command(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out, picture = tmp_path / "code.json", tmp_path / "plan.png"
    arguments = ["plan", "--workers", "9", "--byzantine", "1", "--trials", "20000", "--time-limit", "2"]
    assert main([*arguments, "--out", str(out), "--plot", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert "certified b" in printed
    assert "* " in printed
    assert "bernoulli(9, E[r]=2, seed=0)" in printed
    code = AllocationCode.load(out)
    assert code.num_byzantine == 1
    assert share(code) == Fraction(1, 3)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_command_says_what_forbids_it(tmp_path, capsys):
    assert main(["plan", "--workers", "6", "--byzantine", "3", "--out", str(tmp_path / "x.json")]) == 2
    assert "no code of 6 workers tolerates 3" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


def test_command_reads_a_load_as_partitions_or_share(tmp_path):
    out = tmp_path / "code.json"
    arguments = ["plan", "--workers", "8", "--byzantine", "1", "--trials", "1000", "--plot", "", "--out", str(out)]
    assert main([*arguments, "--max-load", "0.75"]) == 0
    assert json.loads(out.read_text())["num_partitions"] == 4
    assert main([*arguments, "--partitions", "4", "--max-load", "3"]) == 0
