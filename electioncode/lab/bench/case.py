"""A case is one operation on one size; its rows are the ways to do it, and the memory's own speed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import electioncode as ec
from electioncode.core import cpu
from electioncode.lab.bench.pool import Pool

Call = Callable[[], Any]


@dataclass(frozen=True)
class Bound:
    """A row on its memory: `call` does the work once, on the next slot; `check` raises if it is wrong."""

    call: Call
    check: Callable[[], None]


Make = Callable[[Pool], Bound]


@dataclass(frozen=True)
class Spec:
    """One way to do it, before instruction sets and threads are chosen.

    kind: "electioncode"; "part" (a piece of it, or the same without an extra: what the difference costs);
    "ceiling" (memory alone); "naive" (without this package).
    library: whose threads count: "core", "torch", or "" (one thread).
    nbytes: that this row moves, if not the bytes of the case.
    slow: seconds a call; left out of the short run unless `Case.show_slow`.
    """

    kind: str
    name: str
    make: Make
    library: str = "core"
    nbytes: float | None = None
    slow: bool = False


@dataclass(frozen=True)
class Row:
    """A way, an instruction set, a number of threads."""

    case: Case
    spec: Spec
    isa: str
    threads: int

    @property
    def label(self) -> str:
        parts = [self.spec.name]
        if self.spec.library == "core":
            parts.append(self.isa)
        return ", ".join([*parts, f"{self.threads} thread{'s' if self.threads > 1 else ''}"])

    @property
    def nbytes(self) -> float:
        return self.case.nbytes if self.spec.nbytes is None else self.spec.nbytes

    def use(self) -> None:
        """Sets what this row runs with."""
        if self.spec.library == "core":
            ec.set_instruction_set(self.isa)
            ec.set_num_threads(self.threads)
        elif self.spec.library == "torch":
            import torch

            torch.set_num_threads(self.threads)


@dataclass(frozen=True)
class Case:
    """One operation, n, d and dtype.

    nbytes: the fewest bytes that must move between memory and core, spelled out in `formula`.
    ceiling: the loop whose speed is the ceiling: "read", "copy", "rewrite"; "" where memory is no limit.
    goal: the share of the ceiling to reach; None: none is set.
    loops: calls timed as one, for what takes microseconds.
    """

    operation: str
    n: int
    d: int
    dtype: str
    nbytes: float
    formula: str
    specs: tuple[Spec, ...]
    ceiling: str = "read"
    goal: float | None = None
    loops: int = 1
    show_slow: bool = False

    @property
    def id(self) -> str:
        return f"{self.operation} n={self.n} d={self.d} {self.dtype}"

    def rows(self, isas: Sequence[str], threads: Sequence[int], slow: bool = True) -> Iterator[Row]:
        """All rows; ceilings use the best instruction set, whichever are asked for."""
        best = ec.instruction_sets()[0]
        for spec in self.specs:
            if spec.library == "torch" and not have("torch"):
                continue
            if spec.slow and not (slow or self.show_slow):
                continue
            single = spec.library == "" or self.loops > 1 or spec.slow
            for t in (1,) if single else threads:
                if spec.kind == "ceiling":
                    yield Row(self, spec, best, t)
                elif spec.library == "core":
                    yield from (Row(self, spec, isa, t) for isa in isas)
                else:
                    yield Row(self, spec, "", t)


@cache
def have(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def equal(what: str, got: Any, expected: Any) -> None:
    """Raises AssertionError (also under ``python -O``) unless the arrays are equal."""
    got, expected = np.asarray(got), np.asarray(expected)
    if got.shape != expected.shape or not np.array_equal(got, expected):
        differ = "" if got.shape != expected.shape else f" at {np.count_nonzero(got != expected)} places"
        raise AssertionError(f"{what}: {got.dtype}{got.shape} is not {expected.dtype}{expected.shape}{differ}")


def read(contents: str, nbytes: int) -> Spec:
    """Ceiling: reads the buffer that the rows of the case read, slot by slot."""
    slot_bytes, nbytes = nbytes, max(nbytes // 8 * 8, 8)

    def make(pool: Pool) -> Bound:
        slots = pool.slots(contents, slot_bytes)
        words = slots.arrays(np.uint64, (nbytes // 8,))

        def check() -> None:
            equal("read", cpu.read(words[0]), np.bitwise_xor.reduce(words[0]))

        return Bound(lambda: cpu.read(words[slots.next()]), check)

    return Spec("ceiling", "read", make, nbytes=nbytes)


def copy(nbytes: int, share: int = 2) -> Spec:
    """Ceiling: copies a third of `nbytes`, on the memory of :func:`rewrite`."""
    third = max(nbytes // 24 * 8, 8)

    def make(pool: Pool) -> Bound:
        sources, targets = pool.slots("bits source", third, share), pool.slots("zeros target", third, share)
        a, b = sources.arrays(np.uint64, (third // 8,)), targets.arrays(np.uint64, (third // 8,))

        def check() -> None:
            cpu.copy(a[0], b[0])
            equal("copy", b[0], a[0])

        return Bound(lambda: cpu.copy(a[sources.next()], b[targets.next()]), check)

    return Spec("ceiling", "copy", make, nbytes=2 * third)


def rewrite(nbytes: int, share: int = 2, cached: bool = False) -> Spec:
    """Ceiling: reads two arrays and rewrites one, `nbytes` in all; `cached`: always the same one."""
    third = max(nbytes // 24 * 8, 8)

    def make(pool: Pool) -> Bound:
        sources, targets = pool.slots("bits source", third, share), pool.slots("zeros target", third, share)
        a, b = sources.arrays(np.uint64, (third // 8,)), targets.arrays(np.uint64, (third // 8,))

        def check() -> None:
            before = b[0].copy()
            cpu.rewrite(a[0], b[0])
            equal("rewrite", b[0], before ^ a[0])

        return Bound(lambda: cpu.rewrite(a[sources.next()], b[0 if cached else targets.next()]), check)

    return Spec("ceiling", "rewrite", make, nbytes=3 * third)
