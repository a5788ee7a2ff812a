"""A case is one operation on one size; its rows are the ways to do it, and the speed of memory itself."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import electioncode as ec
from electioncode.core import cpu
from electioncode.lab.bench.pool import Pool
from electioncode.lab.machine import have


@dataclass(frozen=True)
class Bound:
    """A way on its memory: `call` does the work once, on the next slot; `check` raises if the result is wrong."""

    call: Callable[[], Any]
    check: Callable[[], None]


@dataclass(frozen=True)
class Way:
    """One way to do the work, before instruction sets and threads are chosen.

    Attributes:
        kind: "electioncode"; "part" (a piece of it, or the same without an extra: what the difference costs);
            "ceiling" (memory alone); "naive" (without this package).
        name: in tables.
        make: binds it to memory of a pool.
        library: whose threads count: "core", "torch", or "" (one thread).
        nbytes: that this way moves, if not the bytes of the case.
        slow: takes seconds per call; left out of the short run unless `Case.show_slow`.
    """

    kind: str
    name: str
    make: Callable[[Pool], Bound]
    library: str = "core"
    nbytes: float | None = None
    slow: bool = False


@dataclass
class Row:
    """A way with an instruction set and a number of threads, and what was measured of it.

    Attributes:
        seconds: of every call.
        reason: why it was not measured.
    """

    case: Case
    way: Way
    isa: str
    threads: int
    seconds: list[float] = field(default_factory=list)
    reason: str = ""

    @property
    def label(self) -> str:
        isa = [self.isa] if self.way.library == "core" else []
        return ", ".join([self.way.name, *isa, f"{self.threads} thread{'s' if self.threads > 1 else ''}"])

    @property
    def nbytes(self) -> float:
        return self.case.nbytes if self.way.nbytes is None else self.way.nbytes

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def bytes_per_second(self) -> float:
        return self.nbytes / self.median

    def use(self) -> None:
        """Set the instruction set and the threads of this row."""
        if self.way.library == "core":
            ec.set_instruction_set(self.isa)
            ec.set_num_threads(self.threads)
        elif self.way.library == "torch":
            import torch

            torch.set_num_threads(self.threads)


@dataclass(frozen=True)
class Case:
    """One operation, n, d and dtype.

    Attributes:
        operation: in tables.
        n: voters.
        d: coordinates.
        dtype: of the inputs, or "packed".
        nbytes: the fewest bytes that must move between memory and core, spelled out in `formula`.
        formula: of `nbytes`.
        ways: this package's first.
        ceiling: the loop whose speed is the ceiling: "read", "copy", "rewrite"; "" if memory is no limit.
        goal: the share of the ceiling to reach; None: no goal is set.
        loops: calls timed as one, for what takes microseconds.
        show_slow: measure slow ways in the short run too.
    """

    operation: str
    n: int
    d: int
    dtype: str
    nbytes: float
    formula: str
    ways: tuple[Way, ...]
    ceiling: str = "read"
    goal: float | None = None
    loops: int = 1
    show_slow: bool = False

    @property
    def id(self) -> str:
        return f"{self.operation} n={self.n} d={self.d} {self.dtype}"

    def rows(self, isas: Sequence[str], threads: Sequence[int], slow: bool = True) -> Iterator[Row]:
        """Yield all rows; ceilings use the best instruction set, whichever are asked for."""
        best = ec.instruction_sets()[0]
        for way in self.ways:
            if way.library == "torch" and not have("torch"):
                continue
            if way.slow and not (slow or self.show_slow):
                continue
            single = way.library == "" or self.loops > 1 or way.slow
            sets = [best] if way.kind == "ceiling" else isas if way.library == "core" else [""]
            for t in (1,) if single else threads:
                yield from (Row(self, way, isa, t) for isa in sets)


def equal(what: str, got: Any, expected: Any) -> None:
    """Raise AssertionError (also under ``python -O``) unless the arrays are equal."""
    got, expected = np.asarray(got), np.asarray(expected)
    if got.shape != expected.shape or not np.array_equal(got, expected):
        differ = "" if got.shape != expected.shape else f" at {np.count_nonzero(got != expected)} places"
        raise AssertionError(f"{what}: {got.dtype}{got.shape} is not {expected.dtype}{expected.shape}{differ}")


def read(contents: str, nbytes: int) -> Way:
    """Make a ceiling that reads the buffer that the rows of the case read, slot by slot."""
    slot_bytes, nbytes = nbytes, max(nbytes // 8 * 8, 8)

    def make(pool: Pool) -> Bound:
        slots = pool.slots(contents, slot_bytes)
        words = slots.arrays(np.uint64, (nbytes // 8,))
        return Bound(
            lambda: cpu.read(words[slots.next()]),
            lambda: equal("read", cpu.read(words[0]), np.bitwise_xor.reduce(words[0])),
        )

    return Way("ceiling", "read", make, nbytes=nbytes)


def copy(nbytes: int) -> Way:
    """Make a ceiling that copies a third of `nbytes`, on the memory of :func:`rewrite`."""

    def check(a: np.ndarray, b: np.ndarray) -> None:
        cpu.copy(a, b)
        equal("copy", b, a)

    return _ceiling("copy", cpu.copy, check, nbytes, moves=2)


def rewrite(nbytes: int, share: int = 2, cached: bool = False) -> Way:
    """Make a ceiling that reads two arrays and rewrites one, `nbytes` in all; `cached`: always the same one."""

    def check(a: np.ndarray, b: np.ndarray) -> None:
        before = b.copy()
        cpu.rewrite(a, b)
        equal("rewrite", b, before ^ a)

    return _ceiling("rewrite", cpu.rewrite, check, nbytes, 3, share, cached)


def _ceiling(name: str, loop: Any, check: Any, nbytes: int, moves: int, share: int = 2, cached: bool = False) -> Way:
    """Make a ceiling of two arrays, a third of `nbytes` each, that moves so many thirds."""
    third = max(nbytes // 24 * 8, 8)

    def make(pool: Pool) -> Bound:
        sources, targets = pool.slots("bits source", third, share), pool.slots("zeros target", third, share)
        a, b = sources.arrays(np.uint64, (third // 8,)), targets.arrays(np.uint64, (third // 8,))
        return Bound(lambda: loop(a[sources.next()], b[0 if cached else targets.next()]), lambda: check(a[0], b[0]))

    return Way("ceiling", name, make, nbytes=moves * third)
