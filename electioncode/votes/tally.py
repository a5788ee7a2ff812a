"""Count votes as they arrive, in carry-save counters that are as many words as a few votes."""

from __future__ import annotations

from typing import Any

import numpy as np

from electioncode import core
from electioncode.core import words_for
from electioncode.votes.majority import MAX_TOTAL_WEIGHT
from electioncode.votes.packed import PackedSigns, new_votes, outputs, pack

# What a row adds to the counters, as the core numbers it.
_ROW, _NOT_ROW, _ROW_OR_NOT_MASK, _MASK_AND_NOT_ROW = range(4)


class Tally:
    """Counts votes as they arrive.

    Args:
        d: the number of coordinates.
        max_votes: an upper bound on the sum of absolute weights that will be added, at most 2**40.

    Holds carry-save counters, at most 2 rows of ``ceil(d / 64)`` words per plane, and no vote. Adding a vote costs one
    full adder per word on average, whatever has been counted before.
    """

    def __init__(self, d: int, max_votes: int) -> None:
        if not 1 <= max_votes <= MAX_TOTAL_WEIGHT:
            raise ValueError(f"Tally: max_votes must be from 1 to 2**40, got {max_votes}")
        self.d = core.integer("Tally", "d", d, 0)
        self.max_votes = int(max_votes)
        self._free: list[Any] = []
        self._scratch: dict[bool, PackedSigns] = {}
        self._backend: core.Backend = core.numpy_backend()  # of the last vote
        self._holder: core.Backend = self._backend  # whose core counts
        self._planes: list[list[Any]] = []
        self.reset()

    def reset(self) -> None:
        """Forget all votes and keep the memory."""
        for plane in self._planes:
            self._free.extend(plane)
        # Plane p counts 2**p halves of a vote: a voter puts weight * (1 + sign), so that abstaining is half-way.
        self._planes = [[] for _ in range((2 * self.max_votes).bit_length())]
        self.total_weight = 0
        self.num_votes = 0

    def add(
        self,
        votes: Any,
        weight: int = 1,
        *,
        zero: str = "plus",
        nan: str = "raise",
        seed: int = 0,
        step: int = 0,
        stream: int = 0,
    ) -> None:
        """Add one vote: PackedSigns ``(d,)``, or floats ``(d,)`` whose signs are taken as :func:`pack` takes them.

        The counters are where the first vote is, on the CPU or a CUDA device; later ones are copied there.
        Raises ValueError where d differs or the weights add up to more than max_votes; nothing is counted then.
        """
        if isinstance(weight, bool) or not isinstance(weight, (int, np.integer)):
            raise TypeError(f"Tally.add: weight must be an integer, got {type(weight).__name__}")
        size, negative = abs(int(weight)), weight < 0
        total = self.total_weight + size
        if total > self.max_votes:
            raise ValueError(f"Tally.add: weights must sum to at most max_votes = {self.max_votes}, got {total}")
        backend = votes.backend if isinstance(votes, PackedSigns) else core.backend_of(votes, "Tally.add", "votes")
        if tuple(votes.shape) != (self.d,):
            raise ValueError(f"Tally.add: votes must have shape ({self.d},), got {tuple(votes.shape)}")
        if not isinstance(votes, PackedSigns):
            scratch = self._scratch_for(backend, "abstain" in (zero, nan))
            votes = pack(votes, zero, nan, seed=seed, step=step, stream=stream, out=scratch)
        self._backend = backend
        if self.num_votes == 0:
            self._hold(backend)
        words, mask = votes.like(self._holder).arrays()
        vote, against = (_NOT_ROW, _MASK_AND_NOT_ROW) if negative else (_ROW, _ROW_OR_NOT_MASK)
        for bit in [bit for bit in range(size.bit_length()) if size >> bit & 1]:
            if mask is None:
                self._count(words, None, vote, bit + 1)
            else:
                self._count(words, mask, vote, bit)
                self._count(words, mask, against, bit)
        self.total_weight = total
        self.num_votes += 1

    def _scratch_for(self, backend: core.Backend, masked: bool) -> PackedSigns:
        scratch = self._scratch.get(masked)
        if scratch is None or scratch.backend is not backend:
            scratch = self._scratch[masked] = new_votes(backend, (), self.d, masked, None, "Tally.add")
        return scratch

    @property
    def on_host(self) -> bool:
        """Whether the counters are in host memory."""
        return self._holder.core is core.cpu

    def _hold(self, backend: core.Backend) -> None:
        if backend.core is not self._holder.core:
            self._free.clear()
        self._holder = backend

    def _count(self, words: Any, mask: Any, kind: int, plane: int) -> None:
        """Add a bit of weight 2**plane: through the planes that hold two rows, into the first that does not."""
        top = plane
        while len(self._planes[top]) == 2:
            top += 1
        full = self._planes[plane:top]
        sums, pending = [rows[0] for rows in full], [rows[1] for rows in full]
        rest = pending[0] if pending else self._new_row()
        self._holder.core.accumulate(words, mask, kind, sums, pending, rest, self.d)
        for rows in full:
            rows.pop()
        self._free.extend(pending[1:])
        self._planes[top].append(rest)

    def _new_row(self) -> Any:
        if self._free:
            return self._free.pop()
        row = self._holder.empty((words_for(self.d),))
        return self._holder.output(row, "Tally.add")

    def _result_backend(self) -> core.Backend:
        """Return the kind of the last vote, where its core can read the counters."""
        return self._backend if self._backend.core is self._holder.core else self._holder

    def _counters(self) -> tuple[list[Any], list[int]]:
        rows = [(row, plane) for plane, held in enumerate(self._planes) for row in held]
        return [row for row, _ in rows], [plane for _, plane in rows]

    def majority(
        self, tie: str = "plus", *, seed: int = 0, step: int = 0, stream: int = 0, out: PackedSigns | None = None
    ) -> PackedSigns:
        """Return the majority so far, PackedSigns ``(d,)``, as `majority` of all votes added; the count goes on."""
        policy = core.choice("Tally.majority", "tie", tie, core.TIE)
        keys = core.key("Tally.majority", seed=seed, step=step, stream=stream)
        backend = self._result_backend()
        if out is not None and isinstance(out, PackedSigns) and out.backend.core is backend.core:
            backend = out.backend  # any array that the core can write to
        result = new_votes(backend, (), self.d, tie == "abstain", out, "Tally.majority")
        rows, planes = self._counters()
        targets = outputs(result, "Tally.majority")
        self._holder.core.counters_majority(rows, planes, 2 * self.total_weight, self.d, policy, *keys, *targets)
        return result

    def margin(self) -> Any:
        """Return the score of each coordinate, ``(d,)`` int32: votes for +1 minus votes for -1, weighted.

        Raises OverflowError where the weights add up to 2**30 or more.
        """
        if self.total_weight >= 2**30:
            raise OverflowError(f"Tally.margin: weights must sum to less than 2**30, got {self.total_weight}")
        rows, planes = self._counters()
        backend = self._result_backend()
        out = backend.empty((self.d,), "int32")
        target = backend.output(out, "Tally.margin")
        backend.core.counters_margin(rows, planes, self.total_weight, self.d, target)
        return out
