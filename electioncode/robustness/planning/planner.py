"""Choose a code: candidates from every source, each certified, the best first."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from electioncode.codes import MAX_PARTITIONS, MAX_WORKERS, AllocationCode, deterministic
from electioncode.core import choice, integer, number
from electioncode.robustness.bounds import smallest_copies
from electioncode.robustness.planning import constructions, limits, row_types, table
from electioncode.robustness.tolerance import TIES, Tolerance, tolerance

OBJECTIVES = ("max_load", "redundancy", "balanced")
# The most partitions tried where the number is free; with more, loads only grow (see `limits.smallest_load`).
_FREE_PARTITIONS = 13
# Packings of more partitions take long to find and to certify.
_PACKED_PARTITIONS = 101


@dataclass(frozen=True)
class Request:
    """What a code must do: see `plan`."""

    num_workers: int
    num_byzantine: int
    num_partitions: int | None
    max_load: int | Fraction | None
    objective: str
    tie: str
    allow_idle: bool

    def cap(self, k: int) -> int:
        """Return the largest number of partitions that a worker may hold if there are k."""
        if self.max_load is None:
            return k
        return min(k, self.max_load if isinstance(self.max_load, int) else math.floor(self.max_load * k))

    def fits(self, code: AllocationCode) -> bool:
        """Return whether the loads of a code are as requested; its tolerance is for the certificate."""
        fits = code.max_load <= self.cap(code.num_partitions)
        return fits and (self.allow_idle or bool(code.allocation.any(axis=1).all()))


@dataclass(frozen=True)
class Candidate:
    """A code and what is known of it.

    Attributes:
        code: its num_byzantine is the certified tolerance.
        certificate: the answer of `electioncode.tolerance`.
        source: where it comes from: "copies", "copies and full rows", "full rows", "packing", "row types" (integer
            program), "table" or "Algorithm 1".
    """

    code: AllocationCode
    certificate: Tolerance
    source: str

    @property
    def share(self) -> Fraction:
        """Return `share` of the code."""
        return share(self.code)


def share(code: AllocationCode) -> Fraction:
    """Return the part of the batch that the busiest worker computes, max_load / k: the time of a step."""
    return Fraction(code.max_load, code.num_partitions)


def mean_share(code: AllocationCode) -> Fraction:
    """Return the part of the batch that a worker computes on average, redundancy / k."""
    return Fraction(code.num_ones, code.num_workers * code.num_partitions)


def _rank(code: AllocationCode, objective: str) -> tuple[Fraction, ...]:
    """Rank codes, the best lowest; ties go to fewer partitions, whose gradients carry more signal (paper, Remark 2)."""
    largest, mean, k = share(code), mean_share(code), Fraction(code.num_partitions)
    if objective == "max_load":
        return largest, mean, k
    if objective == "redundancy":
        return mean, largest, k
    return largest + mean, largest, k


def plan(
    num_workers: int,
    num_byzantine: int,
    num_partitions: int | None = None,
    max_load: int | float | Fraction | None = None,
    objective: str = "max_load",
    *,
    tie: str = "plus",
    allow_idle: bool = True,
    time_limit: float = 30.0,
) -> AllocationCode:
    """Find the best code that provably tolerates ``num_byzantine`` workers.

    Args:
        num_workers: n, 1..4095.
        num_byzantine: b, 0..4095.
        num_partitions: k, 1..4095; None: free.
        max_load: the most that a worker may compute: an int in partitions, 1..4095, a float or Fraction in (0, 1] as a
            share of the batch; None: no limit.
        objective: what to minimise. "max_load": the share of the busiest worker (max row weight / k), and so the time
            of a step. "redundancy": the mean share. "balanced": the sum of both. Equal codes are ranked by the other
            measure and then by fewer partitions.
        tie: the tie policy that the code is certified for. Codes with odd k hold for every policy.
        allow_idle: whether workers may be left without partitions.
        time_limit: seconds for searching; certifying the result comes on top.

    Returns:
        A code whose num_byzantine is its exact tolerance, at least the one requested. Up to 9 partitions the least load
        is proven by integer programs unless time runs out; redundancy is proven wherever each partition has 2b + 1
        copies. For more partitions the codes are the best known, not the best possible.

    Raises:
        TypeError, ValueError: an argument is not as above.
        ValueError: also if a bound, which the error names, forbids any such code, or if none was found.
    """
    request = _request(num_workers, num_byzantine, num_partitions, max_load, objective, tie, allow_idle)
    found = _certified(request, time_limit, most=1)
    if not found:
        raise ValueError(_why_not(request))
    return found[0].code


def candidates(
    num_workers: int,
    num_byzantine: int,
    num_partitions: int | None = None,
    max_load: int | float | Fraction | None = None,
    objective: str = "max_load",
    *,
    tie: str = "plus",
    allow_idle: bool = True,
    time_limit: float = 30.0,
    most: int = 10,
) -> list[Candidate]:
    """Find the best codes of every source for a request of `plan`, best first, at most ``most`` of them.

    Arguments and errors are those of `plan`, but if no code was found, though no bound forbids one, the list is empty.
    Every code is certified by `electioncode.tolerance`.
    """
    request = _request(num_workers, num_byzantine, num_partitions, max_load, objective, tie, allow_idle)
    return _certified(request, time_limit, most)


def _certified(request: Request, time_limit: float, most: int) -> list[Candidate]:
    _check_bounds(request)
    unique: dict[AllocationCode, str] = {}
    for code, source in _codes(request, time.perf_counter() + time_limit):
        if request.fits(code):
            unique.setdefault(code, source)
    certified: list[Candidate] = []
    for code in sorted(unique, key=lambda code: _rank(code, request.objective)):
        certificate = tolerance(code, request.tie)
        if certificate.num_byzantine >= request.num_byzantine:
            named = AllocationCode(code.allocation, name=code.name, num_byzantine=certificate.num_byzantine)
            certified.append(Candidate(named, certificate, unique[code]))
            if len(certified) == most:
                break
    return certified


def _request(n: int, b: int, k: int | None, max_load: Any, objective: str, tie: str, allow_idle: bool) -> Request:
    n = integer("plan", "num_workers", n, 1, MAX_WORKERS)
    b = integer("plan", "num_byzantine", b, 0, MAX_WORKERS)
    k = None if k is None else integer("plan", "num_partitions", k, 1, MAX_PARTITIONS)
    choice("plan", "objective", objective, OBJECTIVES)
    choice("plan", "tie", tie, TIES)
    cap: int | Fraction | None = None
    if isinstance(max_load, (float, Fraction)):
        number("plan", "max_load as a share of the batch", max_load, 0, 1, "(]")
        cap = Fraction(max_load).limit_denominator(10**6)
    elif max_load is not None:
        cap = integer("plan", "max_load", max_load, 1, MAX_PARTITIONS)
    return Request(n, b, k, cap, objective, tie, bool(allow_idle))


def _check_bounds(request: Request) -> None:
    """Raise a ValueError that names the bound, if one forbids the request."""
    n, b, k, tie = request.num_workers, request.num_byzantine, request.num_partitions, request.tie
    copies = smallest_copies(b)
    if copies > n:
        raise ValueError(
            f"plan: no code of {n} workers tolerates {b}: they are a majority or half of the votes "
            f"(2 b + 1 = {copies} workers are needed, bounds.smallest_copies)"
        )
    if k is None:
        if isinstance(request.max_load, Fraction) and request.max_load * n < copies and tie != "random":
            raise ValueError(
                f"plan: no code of {n} workers tolerates {b} with max_load {_text(request.max_load)}: every "
                f"partition needs 2 b + 1 = {copies} copies (bounds.smallest_copies), so some worker computes at "
                f"least {copies}/{n} of the batch"
            )
        return
    load = limits.smallest_load(n, b, k, tie)
    if load is None:
        raise ValueError(
            f"plan: no code with {k} partitions tolerates {b} under tie={tie!r}: on a tied sign vector any "
            "single worker decides; take an odd number of partitions"
        )
    if request.cap(k) < load:
        at_least = math.ceil(limits.copies_needed(b, k, tie) * k / n)
        reason = (
            f"2 b + 1 = {copies} copies of {k} partitions on {n} workers (bounds.smallest_copies) need"
            if at_least == load
            else "the mean of the votes over the deciding sign vectors (planning.limits.smallest_load) needs"
        )
        raise ValueError(
            f"plan: no code of {n} workers and {k} partitions tolerates {b} with max_load "
            f"{_text(request.max_load)}: {reason} a load of at least {load} partitions"
        )


def _text(max_load: int | Fraction | None) -> str:
    return f"{max_load} partitions" if isinstance(max_load, int) else f"{float(max_load or 1):.4g}"


def _why_not(request: Request) -> str:
    n, b, k = request.num_workers, request.num_byzantine, request.num_partitions
    text = f"plan: found no code of {n} workers that tolerates {b}"
    if k is not None:
        text += f" with {k} partitions"
    if request.max_load is not None:
        text += f" and max_load {_text(request.max_load)}"
        loads = ((j, limits.smallest_load(n, b, j, request.tie)) for j in range(1, 32))
        if k is None and all(load is None or load > request.cap(j) for j, load in loads):
            return text + (
                ": for every k up to 31 the mean of the votes over the deciding sign vectors needs a larger "
                "load (planning.limits.smallest_load)"
            )
    return text + ", though no bound excludes one; allow a larger max_load, more time or idle workers"


def _codes(request: Request, deadline: float) -> Iterator[tuple[AllocationCode, str]]:
    """Yield the codes of every source that should meet the request, with its name; they are certified later."""
    n, b, k, tie = request.num_workers, request.num_byzantine, request.num_partitions, request.tie
    for size in [k] if k is not None else _natural_sizes(n, b):
        sources = [(constructions.copies(n, size, b), "copies")]
        if size <= n - 2 * b:
            sources.append((constructions.copies_and_full(n, size, b), "copies and full rows"))
        else:
            sources.append((constructions.full(n, size, b, request.allow_idle), "full rows"))
            if size <= _PACKED_PARTITIONS:
                # A search pays only where full rows and idle workers are not as light.
                searched = k is not None and not request.allow_idle
                seconds = min(10.0, max(deadline - time.perf_counter(), 0.0) / 2) if searched else 0.0
                sources.append((constructions.packed(n, size, b, seconds), "packing"))
        if size == n and n % 2 and b:
            sources.append((deterministic(n, b), "Algorithm 1"))
        yield from ((code, source) for code, source in sources if code is not None)
    if k is None and b and n <= table.MAX_WORKERS and b <= table.MAX_BYZANTINE:
        with suppress(LookupError):
            code = table.best_known(n, b)
            if tie == "plus" or code.num_partitions % 2:
                yield code, "table"
                if request.fits(code):
                    return
    yield from _integer_programs(request, deadline)


def _natural_sizes(n: int, b: int) -> list[int]:
    """Return the k with a code in closed form: one, the most that have 2b + 1 copies, n - 2b, and n."""
    most = n // (2 * b + 1)
    sizes = {1, most if b == 0 else most - (most + 1) % 2, n - 2 * b}
    return sorted(sizes | ({n} if n <= _PACKED_PARTITIONS else set()))


def _integer_programs(request: Request, deadline: float) -> Iterator[tuple[AllocationCode, str]]:
    """Yield the exact answer for few partitions: the first load, in rising order, with a code, or the lightest code."""
    n, b, k, tie = request.num_workers, request.num_byzantine, request.num_partitions, request.tie
    sizes = [k] if k is not None else list(range(2, _FREE_PARTITIONS + 1))
    # Where workers may idle, a code must beat the copies of an odd number of partitions.
    copied = Fraction(1, max(1, (n // (2 * b + 1) - 1) // 2 * 2 + 1))
    best = copied if k is None and request.allow_idle else Fraction(2)
    tries = []
    for size in sizes:
        load = limits.smallest_load(n, b, size, tie)
        if load is None or size > _FREE_PARTITIONS:
            continue
        if request.objective == "redundancy" and k is not None and size <= row_types.MAX_PARTITIONS:
            # With idle workers, full rows have the fewest copies already, if they fit.
            if not request.allow_idle or request.cap(size) < size:
                tries.append((Fraction(0), size, request.cap(size)))
            continue
        for cap in range(load, request.cap(size) + 1):
            useful = size % 2 == 0 or cap % 2 == 1 or tie == "abstain"  # see `row_types`
            if useful and Fraction(cap, size) < best:
                tries.append((Fraction(cap, size), size, cap))
    for _, size, cap in sorted(tries):
        left = deadline - time.perf_counter()
        if left <= 0:
            return
        only_cap, seconds, allow_idle = size > row_types.MAX_PARTITIONS, min(left, 20.0), request.allow_idle
        solved = row_types.lightest(n, b, size, cap, tie, time_limit=seconds, only_cap=only_cap, allow_idle=allow_idle)
        if solved.matrix is not None:
            yield AllocationCode(solved.matrix, name=f"row-types({n}, {size}, {b})"), "row types"
            return
