"""`tolerance` against brute force that shares no code with it, by both methods and every tie policy."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from electioncode import reference
from electioncode.codes import AllocationCode, bernoulli, cyclic, deterministic, repetition, uncoded
from electioncode.robustness import TIES, Tolerance, enumeration, integer_program, tolerance

VECTORS = json.loads((Path(__file__).parents[1] / "helpers" / "data" / "code_vectors.json").read_text())


def outcomes(total: int, tie: str) -> set[int]:
    if total:
        return {1 if total > 0 else -1}
    return {"plus": {1}, "minus": {-1}, "abstain": {0}, "random": {1, -1}}[tie]


def brute_force(matrix: np.ndarray, tie: str) -> int:
    """Largest b by definition: all sign vectors, attacker sets, messages and outcomes of tie bits."""
    n, k = matrix.shape
    for b in range(n + 1):
        for signs in itertools.product((-1, 1), repeat=k):
            if tie == "random" and sum(signs) == 0:
                continue
            (truth,) = outcomes(sum(signs), tie)
            held = [[s for s, one in zip(signs, row, strict=True) if one] for row in matrix.tolist()]
            honest = [outcomes(sum(mine), tie) if mine else {0} for mine in held]
            for attackers in itertools.combinations(range(n), b):
                totals = {0}
                for worker, can in enumerate(honest):
                    can = {-1, 0, 1} if worker in attackers else can
                    totals = {t + c for t in totals for c in can}
                if any(outcomes(t, tie) != {truth} for t in totals):
                    return b - 1
    return n


def check_witness(code: AllocationCode, answer: Tolerance) -> None:
    """The witness breaks upper + 1, counted here by hand."""
    w, tie = answer.witness, answer.tie
    assert len(w.attackers) == answer.upper + 1
    assert set(np.unique(w.signs)) <= {-1, 1}
    if tie != "random" or w.signs.sum():
        assert outcomes(int(w.signs.sum()), tie) == {w.truth}
    for worker in range(code.num_workers):
        held = [int(w.signs[j]) for j in code.partitions(worker)]
        assert int(w.honest[worker]) in (outcomes(sum(held), tie) if held else {0})
        if worker not in w.attackers:
            assert w.messages[worker] == w.honest[worker]
    assert w.decoded in outcomes(int(w.messages.sum()), tie)
    assert w.decoded != w.truth


@pytest.mark.parametrize("tie", TIES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_equals_brute_force(tie, data):
    n = data.draw(st.integers(1, 5))
    k = data.draw(st.integers(1, 5))
    rows = data.draw(st.lists(st.integers(0, 2**k - 1), min_size=n, max_size=n))
    matrix = np.array([[row >> j & 1 for j in range(k)] for row in rows], dtype=np.uint8)
    code = AllocationCode(matrix)
    expected = brute_force(matrix, tie)
    for method in ("exhaustive", "ilp"):
        answer = tolerance(code, tie, method=method)
        assert answer.exact
        assert answer.method == method
        assert answer.num_byzantine == expected
        check_witness(code, answer)


@pytest.mark.parametrize("tie", TIES)
@pytest.mark.parametrize(
    "code",
    [repetition(5, 1), repetition(6, 3), repetition(6, 2), repetition(5, 2), deterministic(5, 1)],
    ids=repr,
)
def test_equals_brute_force_where_codes_hold(code, tie):
    expected = brute_force(code.allocation, tie)
    assert expected >= 0
    assert tolerance(code, tie).num_byzantine == expected


@pytest.mark.parametrize(("n", "b"), [(n, b) for n in range(1, 18, 2) for b in range(n // 2 + 1)])
def test_algorithm_1_tolerates_exactly_b(n, b):
    for method in ("exhaustive", "ilp"):
        answer = tolerance(deterministic(n, b), method=method)
        assert (answer.num_byzantine, answer.upper) == (b, b)
        check_witness(deterministic(n, b), answer)


def test_algorithm_1_with_49_workers():
    answer = tolerance(deterministic(49, 5))
    assert (answer.num_byzantine, answer.upper, answer.method) == (5, 5, "ilp")
    check_witness(deterministic(49, 5), answer)


def test_25_partitions_exhaustively():
    answer = tolerance(deterministic(25, 4), method="exhaustive")
    assert (answer.num_byzantine, answer.exact) == (4, True)


@pytest.mark.parametrize("key", ["9,1", "9,2"])
def test_codes_better_than_algorithm_1(key):
    n, b = map(int, key.split(","))
    code = AllocationCode([[int(bit) for bit in row] for row in VECTORS["better_than_alg1"][key]])
    assert code.num_ones < deterministic(n, b).num_ones
    assert tolerance(code).num_byzantine == b


@pytest.mark.parametrize(("n", "k"), [(9, 3), (15, 3), (21, 7), (20, 4), (35, 5), (11, 3)])
def test_repetition(n, k):
    answer = tolerance(repetition(n, k))
    if k % 2:
        assert answer.num_byzantine == (n // k - 1) // 2
    claimed = repetition(n, k).num_byzantine
    assert claimed is None or claimed == answer.num_byzantine


def test_uncoded_tolerates_nobody():
    for n in (1, 2, 5, 8, 9):
        assert tolerance(uncoded(n)).num_byzantine == 0


def test_idle_workers_abstain():
    # Were the tenth worker to vote +1, one liar could tie the vote of nine.
    assert tolerance(repetition(10, 3)).num_byzantine == 1
    assert tolerance(AllocationCode(np.zeros((3, 3)))).num_byzantine == -1


def test_methods_agree_on_random_codes():
    for seed in range(12):
        code = bernoulli(13, 8, num_partitions=12 + seed % 2, seed=seed)
        for tie in TIES:
            a, b = tolerance(code, tie, method="exhaustive"), tolerance(code, tie, method="ilp")
            assert (a.num_byzantine, a.exact) == (b.num_byzantine, b.exact)


def test_least_margins_agree():
    rng = np.random.default_rng(0)
    for trial in range(20):
        k = int(rng.integers(1, 13))
        matrix = (rng.random((9, k)) < 0.6).astype(np.uint8)
        matrix = matrix[matrix.any(axis=1)]
        if not len(matrix):
            continue
        pluses, tie = int(rng.integers(0, k + 1)), trial % 3 - 1
        value, signs = enumeration.least_margin(matrix, pluses, tie)
        solved = integer_program.least_margin(matrix, pluses, tie)
        assert solved.exact
        assert value == solved.reached == integer_program.honest_votes(matrix, signs, tie).sum()
        assert (signs > 0).sum() == (solved.signs > 0).sum() == pluses


@pytest.mark.parametrize(("k", "pluses"), [(1, 1), (5, 2), (21, 2), (22, 20), (23, 3)])
def test_a_layer_is_enumerated_once(k, pluses):
    seen = []
    for votes, low, high in enumeration.layer_blocks(k, pluses):
        numbers = low.astype(np.int64) | high << min(k, 20)
        bits = reference.to_bits(votes.words, votes.d)
        assert np.array_equal(bits, numbers >> np.arange(k)[:, None] & 1)
        seen.append(numbers)
    expected = [sum(1 << j for j in chosen) for chosen in itertools.combinations(range(k), pluses)]
    assert sorted(np.concatenate(seen).tolist()) == sorted(expected)


@pytest.mark.parametrize("seed", range(4))
def test_time_limit_gives_proven_bounds(seed):
    # Random rows below full ones: much to prove, and next to no time for it.
    rows = bernoulli(23, 7, seed=seed).allocation
    code = AllocationCode(np.vstack([rows, np.ones((24, 23), dtype=np.uint8)]))
    exact = tolerance(code, method="exhaustive")
    assert exact.exact
    limited = tolerance(code, method="ilp", time_limit=0.01)
    assert limited.num_byzantine <= exact.num_byzantine <= limited.upper
    check_witness(code, limited)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tie": "x"}, ValueError, "tie must be one of 'plus', 'minus', 'random', 'abstain', got 'x'"),
        ({"method": "x"}, ValueError, "method must be one of 'auto', 'exhaustive', 'ilp', got 'x'"),
        ({"time_limit": 0}, ValueError, r"time_limit must be in \(0, inf\], got 0"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        tolerance(uncoded(3), **arguments)
    with pytest.raises(TypeError, match="code must be an AllocationCode, got list"):
        tolerance([[1]])


def test_exhaustive_needs_no_scipy():
    script = (
        "import sys; sys.modules['scipy'] = None\n"
        "from electioncode.codes import deterministic\n"
        "from electioncode.robustness import tolerance\n"
        "assert tolerance(deterministic(9, 2)).num_byzantine == 2\n"
        "try: tolerance(deterministic(9, 2), method='ilp')\n"
        "except ImportError as error: assert \"pip install 'electioncode[plan]'\" in str(error)\n"
        "else: raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_cyclic_codes_can_be_worse_than_uncoded():
    assert tolerance(cyclic(15, 5)).num_byzantine == -1
