"""What a process keeps of the casts of one step, and the messages that its workers send: their local votes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from electioncode import core
from electioncode.core import full_mask, words_for
from electioncode.votes import PackedSigns, Tally, local_majorities, pack

if TYPE_CHECKING:
    from electioncode.election import Election


class Tallied:
    """The casts of one worker (or none): a tally, and no vote."""

    def __init__(self, election: Election) -> None:
        self._election = election
        self._workers = election.transport.workers
        self._max_votes = max(1, len(election.partitions))
        self._tally: Tally | None = None

    def _of(self, d: int) -> Tally:
        if self._tally is None or self._tally.d != d:
            self._tally = Tally(d, self._max_votes)
        return self._tally

    def add(self, partition: int, x: Any, d: int) -> None:
        e = self._election
        self._of(d).add(x, zero=e.zero, nan=e.nan, seed=e.seed, step=e.step, stream=partition)

    def messages(self, d: int) -> list[tuple[int, PackedSigns]]:
        e = self._election
        if not e.partitions:  # an idle worker abstains
            nothing = np.zeros(words_for(d), dtype=np.uint64)
            return [(w, PackedSigns(nothing, d, nothing)) for w in self._workers]
        return [
            (w, self._of(d).majority(e.tie, seed=e.seed, step=e.step, stream=w + 1)) for w in self._workers
        ]

    def reset(self) -> None:
        if self._tally is not None:
            self._tally.reset()


class Stored:
    """The casts of several workers: one packed row a partition, since workers share partitions."""

    def __init__(self, election: Election) -> None:
        self._election = election
        if election.transport.workers != tuple(range(election.code.num_workers)):
            raise ValueError(
                "Election: a process must hold one worker, none (a server) or all, "
                f"got workers {election.transport.workers} of {election.code.num_workers}"
            )
        self._holder: core.Backend = core.numpy_backend()  # where the rows are, and the local votes
        self._words = self._masks = self._holder.empty((election.code.num_partitions, 0))
        self._masked: set[int] = set()
        self._is_new = True  # nothing is cast yet in this step

    def add(self, partition: int, x: Any, d: int) -> None:
        e = self._election
        if not isinstance(x, PackedSigns):
            x = pack(x, e.zero, e.nan, seed=e.seed, step=e.step, stream=partition)
        if self._is_new:
            numpy = core.numpy_backend()
            self._hold(numpy if x.backend.core is numpy.core else x.backend)
        self._fit(d)
        words, mask = x.like(self._holder).arrays()
        self._words[partition] = words
        self._is_new = False
        if mask is not None:
            self._masks[partition] = mask
            self._masked.add(partition)
        else:
            self._masked.discard(partition)

    def _hold(self, backend: core.Backend) -> None:
        if backend is not self._holder:
            self._holder = backend
            self._words = self._masks = backend.empty((self._election.code.num_partitions, 0))

    def _fit(self, d: int) -> None:
        shape = (self._election.code.num_partitions, words_for(d))
        if tuple(self._words.shape) != shape:
            self._words, self._masks = self._holder.empty(shape), self._holder.empty(shape)

    def votes(self, d: int) -> PackedSigns:
        """What was cast: (k, d)."""
        self._fit(d)
        masks = None
        if self._masked:
            masks = self._masks
            full = self._holder.adopt(full_mask(d))
            for partition in set(self._election.partitions) - self._masked:
                masks[partition] = full
        return PackedSigns(self._words, d, masks)

    def messages(self, d: int) -> list[tuple[int, PackedSigns]]:
        e = self._election
        rows = local_majorities(self.votes(d), e.code, e.tie, seed=e.seed, step=e.step)
        masked = e.tie == "abstain"
        idle = {i for i in range(e.code.num_workers) if not e.code.partitions(i)}
        return [
            (i, rows[i] if masked or i in idle else PackedSigns(rows.words[i], d)) for i in range(e.code.num_workers)
        ]

    def reset(self) -> None:
        self._masked.clear()
        self._is_new = True
