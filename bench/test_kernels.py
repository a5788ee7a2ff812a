"""The benchmark cases under pytest-benchmark: one test per row, one group per case. See README.md."""

from __future__ import annotations

import os
import time
from functools import cache

import pytest

import electioncode as ec
from electioncode.lab.bench import RESNET18_COORDINATES, Pool, Row, TooLarge, all_cases

D = int(os.environ.get("ELECTIONCODE_BENCH_D", RESNET18_COORDINATES))
POOL_MIB = os.environ.get("ELECTIONCODE_BENCH_POOL_MIB")
THREADS = [int(t) for t in os.environ.get("ELECTIONCODE_BENCH_THREADS", f"1,{ec.num_threads()}").split(",")]
ISAS = os.environ.get("ELECTIONCODE_BENCH_ISA", ",".join(ec.instruction_sets())).split(",")
ROWS = [row for case in all_cases(D, full=True) for row in case.rows(ISAS, sorted(set(THREADS)))]


def _name(row: Row) -> str:
    return f"{row.case.id}: {row.label}".replace("=", "")  # -k takes no "="


@cache
def pool() -> Pool:
    return Pool(None if POOL_MIB is None else int(POOL_MIB) << 20)


@pytest.fixture(autouse=True)
def restore():
    yield
    ec.set_instruction_set(None)
    ec.set_num_threads(None)


@pytest.mark.parametrize("row", ROWS, ids=[_name(row) for row in ROWS])
def test_row(row: Row, benchmark) -> None:
    pool().new_case(naive=row.way.kind == "naive")
    row.use()
    try:
        bound = row.way.make(pool())
    except TooLarge as error:
        pytest.skip(str(error))
    bound.check()
    start = time.perf_counter()
    bound.call()
    rounds = min(max(int(0.5 / (time.perf_counter() - start) / row.case.loops), 3), 100)
    benchmark.group = row.case.id
    benchmark.extra_info.update(bytes=row.nbytes, formula=row.case.formula, kind=row.way.kind)
    benchmark.pedantic(bound.call, rounds=rounds, iterations=row.case.loops)
    if benchmark.stats is not None:
        benchmark.extra_info["GB/s"] = row.nbytes / benchmark.stats.stats.median / 1e9
