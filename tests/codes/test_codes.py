"""Allocation codes: the constructions against published values, and the JSON form."""

from __future__ import annotations

import json
import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from electioncode.codes import AllocationCode, bernoulli, cyclic, deterministic, repetition, uncoded

VECTORS = json.loads((Path(__file__).parents[1] / "helpers" / "data" / "code_vectors.json").read_text())


def rows_of(code: AllocationCode) -> list[str]:
    return ["".join(map(str, row)) for row in code.allocation.tolist()]


@pytest.mark.parametrize("key", sorted(VECTORS["G"]))
def test_algorithm_1_matrices(key):
    n, b = map(int, key.split(","))
    expected = VECTORS["G"][key]
    code = deterministic(n, b)
    assert rows_of(code) == expected["rows"]
    assert code.num_ones == expected["ones"]
    assert code.exact_redundancy == Fraction(expected["r"])
    assert code.num_byzantine == b


def test_algorithm_1_redundancy_of_all_350():
    table = VECTORS["r_all_odd_n_le_51"]
    assert len(table) == 350
    for key, expected in table.items():
        n, b = map(int, key.split(","))
        code = deterministic(n, b)
        assert code.exact_redundancy == Fraction(expected), key
        rest = n - (2 * b + 1)
        equation_5 = Fraction(n + 2 * b + 1, 2) - (rest // (2 * (b + 1)) + Fraction(1, 2)) * Fraction(rest, n)
        assert code.exact_redundancy == equation_5, key
        assert (code.allocation.sum(axis=1) % 2 == 1).all()
        assert code.allocation.any(axis=0).all()


def test_algorithm_1_ends():
    assert deterministic(9, 0) == uncoded(9)
    assert deterministic(9, 4).num_ones == 81
    assert deterministic(1, 0).num_ones == 1


@pytest.mark.parametrize("n", [2, 4, 10])
def test_algorithm_1_refuses_even_n(n):
    with pytest.raises(ValueError, match=rf"deterministic: num_workers must be odd .* got {n}"):
        deterministic(n, 1)


@pytest.mark.parametrize("b", [-1, 5])
def test_algorithm_1_refuses_b_out_of_range(b):
    with pytest.raises(ValueError, match=rf"deterministic: num_byzantine must be in 0\.\.4, got {b}"):
        deterministic(9, b)


def test_attributes():
    code = AllocationCode([[1, 0, 1], [0, 0, 0]], name="tiny")
    assert (code.num_workers, code.num_partitions, code.num_ones) == (2, 3, 2)
    assert code.redundancy == 1.0
    assert code.max_load == 2
    assert code.partitions(0) == (0, 2)
    assert code.partitions(1) == ()
    assert code.workers(2) == (0,)
    assert code.workers(1) == ()
    assert code.num_byzantine is None
    assert code.allocation.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        code.allocation[0, 0] = 0
    with pytest.raises(ValueError, match=r"worker must be in 0\.\.1, got 2"):
        code.partitions(2)
    with pytest.raises(TypeError, match="partition must be an integer"):
        code.workers(1.5)


def test_the_matrix_is_copied():
    matrix = np.eye(3, dtype=np.uint8)
    code = AllocationCode(matrix)
    matrix[0, 0] = 0
    assert code.allocation[0, 0] == 1


@pytest.mark.parametrize(
    "bad",
    [np.zeros((2, 2, 2)), np.zeros((0, 3)), np.zeros((3, 0)), [[2]], [[-1]], [[0.5]], [["1"]], [[np.nan]]],
)
def test_bad_matrices(bad):
    with pytest.raises(ValueError, match="AllocationCode: allocation must"):
        AllocationCode(bad)


def test_too_many_workers():
    with pytest.raises(ValueError, match=r"1\.\.4095 rows"):
        AllocationCode(np.zeros((4096, 1), dtype=np.uint8))


def test_bernoulli_is_seeded_and_never_empty():
    code = bernoulli(49, 2, seed=3)
    assert code == bernoulli(49, connection_probability=2 / 49, seed=3)
    assert code != bernoulli(49, 2, seed=4)
    assert code.allocation.any(axis=1).all()
    assert not bernoulli(49, 2, seed=3, allow_empty=True).allocation.any(axis=1).all()


def test_bernoulli_stream_is_pinned():
    # The draw itself is part of the format: experiments name a code by its seed.
    assert rows_of(bernoulli(5, 2.5, seed=1)) == ["00101", "10101", "00101", "11111", "01100"]


def test_bernoulli_density():
    # SPEC: n = 15, E[r] = 2 has E[r | none empty] = 2.2647 and, before rejection, 2.
    drawn = [bernoulli(15, 2, seed=s).num_ones / 15 for s in range(2000)]
    kept = [bernoulli(15, 2, seed=s, allow_empty=True).num_ones / 15 for s in range(2000)]
    # Standard errors are about 0.007, so 0.035 is five of them.
    assert abs(np.mean(drawn) - 2.2647) < 0.035
    assert abs(np.mean(kept) - 2.0) < 0.035


def test_bernoulli_other_shapes():
    code = bernoulli(6, connection_probability=1.0, num_partitions=4)
    assert code.num_ones == 24
    assert bernoulli(200, 1.0, seed=0).allocation.any(axis=1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of redundancy and connection_probability"),
        ({"redundancy": 2, "connection_probability": 0.5}, "exactly one of"),
        ({"redundancy": 10}, r"redundancy must be in \(0, 9\]"),
        ({"redundancy": 0}, r"redundancy must be in \(0, 9\]"),
        ({"redundancy": float("nan")}, r"redundancy must be in \(0, 9\]"),
        ({"connection_probability": 1.5}, r"connection_probability must be in \(0, 1\]"),
        ({"redundancy": 2, "seed": -1}, "seed must be in"),
    ],
)
def test_bernoulli_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        bernoulli(9, **arguments)


def test_repetition():
    code = repetition(7, 3)
    assert rows_of(code) == ["100", "100", "010", "010", "001", "001", "000"]
    assert code.num_byzantine is None
    assert repetition(5, 5) == uncoded(5)
    assert repetition(15, 3).num_byzantine == 2
    assert repetition(4, 1).num_byzantine == 1
    assert repetition(8, 2).num_byzantine is None
    with pytest.raises(ValueError, match=r"num_partitions must be in 1\.\.3, got 4"):
        repetition(3, 4)


def test_cyclic():
    assert rows_of(cyclic(5, 3)) == ["11100", "01110", "00111", "10011", "11001"]
    assert cyclic(4, 1) == uncoded(4)
    with pytest.raises(ValueError, match=r"load must be in 1\.\.4, got 5"):
        cyclic(4, 5)


@pytest.mark.parametrize("code", [deterministic(9, 2), bernoulli(6, 2, num_partitions=11, allow_empty=True)])
def test_round_trip(tmp_path, code):
    code.save(tmp_path / "code.json")
    again = AllocationCode.load(tmp_path / "code.json")
    assert again == code
    assert (again.name, again.num_byzantine) == (code.name, code.num_byzantine)
    assert pickle.loads(pickle.dumps(code)) == code
    assert hash(again) == hash(code)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "must have format"),
        ({"version": 2}, "must have version 1"),
        ({"rows": ["101", "10"]}, "rows of one length"),
        ({"rows": ["10x", "101"]}, "characters 0 and 1"),
        ({"rows": []}, "rows, a list of strings"),
        ({"rows": [[1, 0]]}, "rows, a list of strings"),
        ({"num_workers": 9}, "num_workers and num_partitions"),
        ({"num_byzantine": "1"}, "num_byzantine"),
        ({"num_byzantine": 9}, r"num_byzantine must be in 0\.\.2"),
        ({"name": None}, "name, a string"),
    ],
)
def test_load_refuses(tmp_path, change, message):
    path = tmp_path / "code.json"
    AllocationCode([[1, 0, 1], [1, 1, 1]]).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        AllocationCode.load(path)


def test_load_refuses_what_is_not_json(tmp_path):
    path = tmp_path / "code.json"
    path.write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        AllocationCode.load(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="a JSON object"):
        AllocationCode.load(path)
