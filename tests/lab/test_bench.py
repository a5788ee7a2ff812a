"""The benchmark suite: every row of every case is right, wrong rows are caught, the report is true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import electioncode as ec
from electioncode.core import cpu
from electioncode.lab.bench import RESNET18_COORDINATES, Pool, TooLarge, all_cases, naive, report
from electioncode.lab.bench.case import Bound, Case, Way
from electioncode.lab.bench.counting import tally_rows
from electioncode.lab.bench.floats import RESNET18_SHAPES, tensor_sizes
from electioncode.lab.bench.pool import CONTENTS
from electioncode.lab.bench.timing import Effort, measure
from electioncode.lab.cli.main import main
from electioncode.lab.machine import describe, have

QUICK = Effort(seconds=0.0, fewest=1, most=1, fewest_naive=1)
ISAS = sorted({ec.instruction_sets()[0], "scalar"})
MIB = 1 << 20


@pytest.fixture(scope="module")
def pool() -> Pool:
    return Pool(MIB, 16 * MIB)


def run(cases, pool, isas=ISAS):
    return [r for c in cases for r in measure(c.rows(isas, (1, 2)), pool, QUICK)]


@pytest.mark.parametrize("case", all_cases(200, full=True), ids=lambda c: c.id)
def test_every_row_is_right(case, pool):
    results = run([case], pool)
    assert all(len(r.seconds) == 1 and not r.reason for r in results)
    kinds = {r.way.kind for r in results}
    assert "electioncode" in kinds
    assert case.ceiling == "" or case.ceiling in {r.way.name for r in results}


def test_beyond_what_is_compared_with_the_reference_in_full(pool):
    """Large rows are compared at their start and end."""
    words = (
        "pack",
        "majority n=3",
        "majority, ",
        "local majorities, rep",
        "Tally",
        "disagreement n=15",
        "62 tensors",
    )
    cases = [c for c in all_cases(70_001) if c.id.startswith(words)]
    assert len(cases) >= 12
    run(cases, pool, ISAS[:1])


def test_cases_have_distinct_names():
    for full in (False, True):
        names = [c.id for c in all_cases(1000, full)]
        assert len(set(names)) == len(names)
    assert {c.id for c in all_cases(1000)} <= {c.id for c in all_cases(1000, True)}


def negated(function):
    def wrong(*args, **kwargs):
        result = function(*args, **kwargs)
        if isinstance(result, ec.PackedSigns):
            result.words[..., 0] ^= np.uint64(1)
            return result
        return ~result if result.dtype in (bool, np.uint8) or "bool" in str(result.dtype) else -1 - result

    return wrong


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        ("pack", "pack"),
        ("majority", "majority n=3"),
        ("majority", "majority, masks"),
        ("majority", "small majority"),
        ("local_majorities", "local majorities, cyc"),
        ("coded_majority", "coded majority, cyc"),
        ("disagreement", "disagreement"),
    ],
)
def test_a_wrong_result_is_caught(function, operation, pool, monkeypatch):
    case = next(c for c in all_cases(200) if c.id.startswith(operation))
    monkeypatch.setattr(ec, function, negated(getattr(ec, function)))
    ours = [r for r in case.rows(ISAS[:1], (1,)) if r.way.kind == "electioncode"]
    with pytest.raises(AssertionError):
        measure(ours, pool, QUICK)


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        ("packbits", "pack"),
        ("unpackbits", "unpack"),
        ("sign_sum_sign", "majority n=3"),
        ("sum_sign", "majority n=3"),
        ("int8_sum", "majority n=3"),
        ("float64_sum", "majority n=3"),
        ("mode", "majority n=3"),
        ("unpack_vote32", "majority n=3"),
        ("random_tie_sum_sign", "majority, random"),
        ("weighted_sum_sign", "majority, weights"),
        ("coded_messages", "local majorities, cyc"),
        ("coded_vote", "coded majority, cyc"),
        ("count_different", "disagreement"),
    ],
)
def test_a_wrong_naive_way_is_caught(function, operation, pool, monkeypatch):
    case = next(c for c in all_cases(200) if c.id.startswith(operation))
    before = len(run([case], pool, ISAS[:1]))
    monkeypatch.setattr(naive, function, negated(getattr(naive, function)))
    case = next(c for c in all_cases(200) if c.id.startswith(operation))  # ways hold the functions
    rows = [r for r in case.rows(ISAS[:1], (1,)) if r.way.kind == "naive"]
    caught = 0
    for row in rows:
        try:
            measure([row], pool, QUICK)
        except AssertionError:
            caught += 1
    assert before > 1
    assert caught == 1 if have("torch") else caught <= 1


@pytest.mark.parametrize("function", ["pack_addresses", "update_addresses", "accumulate", "checksum", "unpack"])
def test_a_wrong_native_call_is_caught(function, pool, monkeypatch):
    """One that does nothing: buffers keep what they held."""
    operations = {"accumulate": "Tally", "pack_addresses": "momentum", "update_addresses": "unpack + update"}
    case = next(c for c in all_cases(200) if c.id.startswith(operations.get(function, function)))
    monkeypatch.setattr(cpu, function, lambda *args, **kwargs: 0)
    with pytest.raises(AssertionError):
        measure([r for r in case.rows(ISAS[:1], (1,)) if r.way.kind == "electioncode"], pool, QUICK)


def test_resnet18():
    sizes = [int(np.prod(s)) for s in RESNET18_SHAPES]
    assert len(sizes) == 62 and sum(sizes) == RESNET18_COORDINATES
    assert tensor_sizes(RESNET18_COORDINATES) == sizes
    if have("torch"):
        from electioncode.lab.training import models

        assert [tuple(p.shape) for p in models.build("resnet18", (3, 32, 32), 10).parameters()] == RESNET18_SHAPES
    for d in (128, 1000, 10**8):
        assert len(tensor_sizes(d)) == 62 and sum(tensor_sizes(d)) == d and min(tensor_sizes(d)) > 0


@pytest.mark.parametrize("n", [1, 2, 3, 4, 15, 100])
def test_bytes_of_a_tally(n, monkeypatch):
    """The rows that the case counts are the rows that Tally hands to the core."""
    moved = []
    accumulate = cpu.accumulate

    def counting(words, mask, kind, sums, pending, rest, d):
        moved.append(2 + 3 * len(sums))  # the vote in, the rest out; each plane: two rows in, one out
        accumulate(words, mask, kind, sums, pending, rest, d)

    monkeypatch.setattr(cpu, "accumulate", counting)
    tally, vote = ec.Tally(64, n), ec.pack(np.ones(64, dtype=np.float32))
    for _ in range(n):
        tally.add(vote)
    assert sum(moved) == tally_rows(n)


def test_pool_goes_through_all_of_its_memory():
    pool = Pool(MIB, 2 * MIB)
    slots = pool.slots("bits", 1000)
    assert len(slots) == MIB // 1024
    seen = {slots.arrays(np.uint64, (125,))[slots.next()].ctypes.data for _ in range(len(slots))}
    assert len(seen) == len(slots) and all(address % 64 == 0 for address in seen)
    assert pool.slots("bits", 1000) is slots
    halves = pool.slots("zeros a", 1000, 2), pool.slots("zeros b", 1000, 2)
    assert [len(h) for h in halves] == [len(slots) // 2] * 2
    with pytest.raises(TooLarge, match="GiB"):
        pool.slots("bits", 3 * MIB)


def test_pool_fills_again_what_was_overwritten():
    pool = Pool(1 << 16, 1 << 16)
    first = pool.slots("bits", 1 << 10).bytes.copy()
    pool.new_case(naive=True)
    pool.slots("zeros", 1 << 10)
    pool.new_case()
    assert np.array_equal(pool.slots("bits", 1 << 10).bytes, first)
    pool.new_case()
    assert not pool.slots("zeros", 1 << 12).bytes.any()
    pool.new_case()
    assert np.array_equal(pool.slots("bits", 1 << 10).bytes, first)


@pytest.mark.parametrize("contents", [c for c in CONTENTS if "float" in c])
def test_floats_have_a_sign(contents):
    """Zeros and NaNs are votes that the naive ways count in another way."""
    data = CONTENTS[contents](np.random.default_rng(0), 1 << 16)
    if contents == "bfloat16":
        data = (data.astype(np.uint32) << 16).view(np.float32)
    assert np.isfinite(data).all() and (data != 0).all() and 0.4 < (data > 0).mean() < 0.6


class Clock:
    """Stands in for the module time: only calls of rows take time, as many seconds as they say."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


def fake(log, kind, name, library="core", reason=None, clock=None, takes=1.0):
    def call():
        log.append(name)
        if clock is not None:
            clock.now += takes

    def make(pool):
        if reason:
            raise TooLarge(reason)
        return Bound(call, lambda: log.append(f"check {name}"))

    return Way(kind, name, make, library)


def test_rows_take_turns(pool, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("electioncode.lab.bench.timing.time", clock)
    log: list[str] = []
    specs = (
        fake(log, "electioncode", "a", clock=clock),
        fake(log, "ceiling", "read", clock=clock, takes=4.0),
        fake(log, "naive", "slow", "", clock=clock, takes=30.0),
        fake(log, "naive", "large", "", "too large"),
    )
    case = Case("fake", 1, 64, "packed", 8, "d/8", specs)
    ec.set_num_threads(3)
    results = measure(case.rows(["scalar"], (1,)), pool, Effort(5.0, 3, 9, 2))
    turns = ["a", "read"] * 4 + [
        "a",
        "a",
    ]  # the first pair is the warm-up; then 5 calls of 1 s, 3 (fewest) of 4 s
    assert log == ["check a", "check read", *turns, "check slow", "slow"]  # 30 s: once
    assert [r.seconds for r in results] == [[1.0] * 5, [4.0] * 3, [30.0], []]
    assert results[3].reason == "too large"
    assert (ec.num_threads(), ec.instruction_set()) == (3, ec.instruction_sets()[0])
    ec.set_num_threads(None)


def test_numbers_of_a_report():
    specs = (
        fake([], "electioncode", "ours"),
        fake([], "part", "piece"),
        fake([], "ceiling", "read"),
        fake([], "naive", "one", "torch"),
        fake([], "naive", "two", ""),
    )
    case = Case("fake", 2, 8000, "packed", 2000.0, "n d/8", specs, goal=0.9)
    times = {"ours": [4e-6, 2e-6, 9e-6], "piece": [2e-6], "read": [2e-6], "one": [8e-6], "two": [1e-3]}
    results = list(case.rows(["scalar"], (1,)))
    for row in results:
        row.seconds = times[row.way.name]
    rows = {r["name"]: r for r in report.records(case, results)}
    ours = rows["ours"]
    assert ours["seconds"] == 4e-6 and ours["seconds_min"] == 2e-6 and ours["calls"] == 3
    assert ours["gigabytes_per_second"] == pytest.approx(0.5)
    assert ours["share"] == pytest.approx(0.5)
    assert ours["ceiling_gigabytes_per_second"] == pytest.approx(1.0)
    assert ours["times_faster"] == pytest.approx(2.0) and ours["fastest_naive"] == "one"
    assert rows["two"]["electioncode_is_times_faster"] == pytest.approx(250)
    assert rows["piece"]["electioncode_is_times_faster"] == pytest.approx(0.5)
    lines = report.main_table(list(rows.values())).splitlines()
    assert len(lines) == 3 and all(word in lines[2] for word in ("4.00 us", "0.50", "0.90", "2x", "one"))
    assert report.other_table(list(rows.values()), markdown=True).count("\n| fake ") == 3


@pytest.mark.parametrize(
    ("s", "text"), [(1.5, "1.50 s"), (0.01234, "12.3 ms"), (9.9996e-4, "1.00 ms"), (3e-9, "0.00 us")]
)
def test_seconds(s, text):
    assert report.seconds(s) == text


def test_command(tmp_path, capsys):
    arguments = ["bench", "--d", "2000", "--pool", "0.001", "--op", "majority,checksum", "--threads", "1,2"]
    assert main([*arguments, "--isa", "all", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "majority" in out and "checksum" in out and "momentum" not in out
    data = json.loads((tmp_path / "bench.json").read_text())
    ours = [r for r in data["results"] if r["kind"] == "electioncode" and r["operation"] == "checksum"]
    assert {(r["isa"], r["threads"]) for r in ours} == {(i, t) for i in ec.instruction_sets() for t in (1, 2)}
    assert all(r["share"] > 0 and r["seconds"] > 0 for r in ours)
    assert data["machine"]["cpu"] and data["settings"]["d"] == 2000
    assert (tmp_path / "bench.md").read_text().count("| majority") > 10
    assert not have("matplotlib") or (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "arguments",
    [["--isa", "mmx"], ["--op", "nothing"], ["--threads", "0"], ["--threads", "x"], ["--d", "5"]],
)
def test_wrong_arguments(arguments, capsys):
    assert main(["bench", *arguments]) == 2
    assert arguments[0] in capsys.readouterr().err


def test_under_pytest_benchmark():
    pytest.importorskip("pytest_benchmark")
    root = Path(__file__).parents[2]
    env = {**os.environ, "ELECTIONCODE_BENCH_D": "300", "ELECTIONCODE_BENCH_POOL_MIB": "1"}
    env |= {"ELECTIONCODE_BENCH_THREADS": "1", "ELECTIONCODE_BENCH_ISA": "scalar"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "bench",
        "-q",
        "--benchmark-disable",
        "-k",
        "checksum or disagreement",
    ]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_machine_is_named():
    about = describe()
    assert about["cpu"] and about["electioncode"] == ec.__version__
    assert SimpleNamespace(**about).instruction_sets == ec.instruction_sets()
    assert about["cpu"] in report.machine_line(about)
