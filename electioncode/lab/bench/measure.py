"""Timing: medians of calls that the rows of a case take in turn, so that noise falls on all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import electioncode as ec
from electioncode.lab.bench.case import Bound, Case, Row
from electioncode.lab.bench.pool import Pool, TooLarge


@dataclass(frozen=True)
class Effort:
    """How long a row is measured: until its calls took `seconds`, from `fewest` to `most` calls.

    What takes long is called less often than that, once if a call takes five times `seconds`.
    """

    seconds: float = 0.1
    fewest: int = 5
    most: int = 40
    fewest_naive: int = 2


SHORT = Effort()
FULL = Effort(seconds=1.0, fewest=11, most=200, fewest_naive=3)


@dataclass
class Result:
    """Seconds of every call of a row; `reason` where it was not measured."""

    row: Row
    seconds: list[float] = field(default_factory=list)
    reason: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def bytes_per_second(self) -> float:
        return self.row.nbytes / self.median


def measure(case: Case, rows: Sequence[Row], pool: Pool, effort: Effort = SHORT) -> list[Result]:
    """Results in the order of the rows. Every row is checked first, untimed: AssertionError if it is wrong.

    Rows of this package and ceilings take turns. The naive ways follow one by one: each has data of its own,
    many times larger, and all of it at once would not fit. Restores the instruction set and threads in use.
    """
    isa, threads = ec.instruction_set(), ec.num_threads()
    results = [Result(row) for row in rows]
    try:
        ours = [r for r in results if r.row.spec.kind != "naive"]
        pool.new_case()
        _measure(ours, pool, effort, effort.fewest)
        for result in results:
            if result.row.spec.kind == "naive":
                pool.new_case(naive=True)
                _measure([result], pool, effort, effort.fewest_naive)
    finally:
        ec.set_instruction_set(isa)
        ec.set_num_threads(threads)
    return results


def _measure(results: Iterable[Result], pool: Pool, effort: Effort, fewest: int) -> None:
    ready: list[tuple[Result, Bound]] = []
    for result in results:
        result.row.use()
        try:
            bound = result.row.spec.make(pool)
        except TooLarge as error:
            result.reason = str(error)
            continue
        bound.check()
        ready.append((result, bound))
    for result, bound in ready:  # a first call has pages to touch and threads to start
        if result.row.spec.kind != "naive":  # there the check has been one
            result.row.use()
            timed(bound.call, result.row.case.loops)
    spent = [0.0] * len(ready)
    for turn in range(effort.most):
        for i, (result, bound) in enumerate(ready):
            if turn and spent[i] >= effort.seconds * (1 if turn >= fewest else 5):
                continue
            result.row.use()
            start = time.perf_counter()
            result.seconds.append(timed(bound.call, result.row.case.loops))
            spent[i] += time.perf_counter() - start


def timed(call: Callable[[], Any], loops: int) -> float:
    """Seconds of one of `loops` calls."""
    start = time.perf_counter()
    if loops == 1:
        call()
    else:
        for _ in range(loops):
            call()
    return (time.perf_counter() - start) / loops
