"""Timing: the rows of a case take turns, so that noise falls on all of them alike; medians are reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import electioncode as ec
from electioncode.lab.bench.case import Bound, Row
from electioncode.lab.bench.pool import Pool, TooLarge


@dataclass(frozen=True)
class Effort:
    """How long a row is measured: until its calls took `seconds`, from `fewest` to `most` calls.

    Slow calls are made less often, only once if one takes five times `seconds`.
    """

    seconds: float = 0.1
    fewest: int = 5
    most: int = 40
    fewest_naive: int = 2


SHORT = Effort()
FULL = Effort(seconds=1.0, fewest=11, most=200, fewest_naive=3)


def measure(rows: Iterable[Row], pool: Pool, effort: Effort = SHORT) -> list[Row]:
    """Measure the rows of a case and return them. Each is checked first, untimed: AssertionError if it is wrong.

    Rows of this package and ceilings take turns. The naive ways follow one by one: each has data of its own, many times
    larger, and all of it at once would not fit. Restores the instruction set and the threads in use.
    """
    rows = list(rows)
    isa, threads = ec.instruction_set(), ec.num_threads()
    try:
        pool.new_case()
        _measure([row for row in rows if row.way.kind != "naive"], pool, effort, effort.fewest)
        for row in rows:
            if row.way.kind == "naive":
                pool.new_case(naive=True)
                _measure([row], pool, effort, effort.fewest_naive)
    finally:
        ec.set_instruction_set(isa)
        ec.set_num_threads(threads)
    return rows


def _measure(rows: Sequence[Row], pool: Pool, effort: Effort, fewest: int) -> None:
    ready: list[tuple[Row, Bound]] = []
    for row in rows:
        row.use()
        try:
            bound = row.way.make(pool)
        except TooLarge as error:
            row.reason = str(error)
            continue
        bound.check()
        ready.append((row, bound))
    for row, bound in ready:  # warm up: the first call touches pages and starts threads
        if row.way.kind != "naive":  # there the check was the first call
            row.use()
            timed(bound.call, row.case.loops)
    spent = [0.0] * len(ready)
    for turn in range(effort.most):
        for i, (row, bound) in enumerate(ready):
            if turn and spent[i] >= effort.seconds * (1 if turn >= fewest else 5):
                continue
            row.use()
            start = time.perf_counter()
            row.seconds.append(timed(bound.call, row.case.loops))
            spent[i] += time.perf_counter() - start


def timed(call: Callable[[], Any], loops: int) -> float:
    """Return the seconds of one call, the mean of `loops` calls."""
    start = time.perf_counter()
    for _ in range(loops):
        call()
    return (time.perf_counter() - start) / loops
