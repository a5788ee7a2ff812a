"""The sign vote: a worker sends the majority of its partitions' signs, and the majority of the messages wins.

Source: Election Coding, Section 2 (encoder and decoder).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from electioncode import core
from electioncode.codes import AllocationCode
from electioncode.core import full_mask, words_for
from electioncode.schemes.base import Encoder, Scheme
from electioncode.votes import PackedSigns, Planes, Policies, Tally, frame, local_majorities, majority, random_signs


def sign_vote(
    code: AllocationCode, tie: str = "plus", zero: str = "plus", nan: str = "raise", seed: int = 0
) -> Scheme:
    """Return the scheme of the majority vote over an allocation code.

    Args:
        code: AllocationCode of n workers and k partitions.
        tie, zero, nan, seed: as in :class:`electioncode.Election`.

    Its messages and results are PackedSigns ``(d,)``. With m the ``(k, d)`` signs, G the allocation and ties aside, the
    result equals ``np.sign(np.sign(G @ m).sum(axis=0))``. (Election Coding, Section 2.)
    """
    return sign_vote_by(code, Policies.checked("sign_vote", tie, zero, nan, seed))


def sign_vote_by(code: AllocationCode, policies: Policies) -> Scheme:
    """Return the same by policies that are checked."""
    device_format = partial(Planes, masked=policies.tie == "abstain")
    return Scheme(code, partial(encoder_of, policies, code), MajorityDecoder(policies), device_format=device_format)


@dataclass(frozen=True)
class MajorityDecoder:
    """Counts messages: the majority of those that came."""

    policies: Policies

    def decode(self, messages: Sequence[PackedSigns | None], d: int, step: int, first_word: int = 0) -> PackedSigns:
        """Return the majority of the votes that came, PackedSigns ``(d,)``."""
        votes, policies = [vote for vote in messages if vote is not None], self.policies
        if first_word and policies.tie == "random":  # the bits drawn for these coordinates, not those from word 0 on
            purpose = core.PURPOSE_TIE
            draws = random_signs(64 * first_word + d, seed=policies.seed, step=step % 2**32, purpose=purpose)
            coin = PackedSigns(draws.words[first_word:], d)
            return majority([*votes, coin], weights=[2] * len(votes) + [1], out=frame.blank(d, False))
        if not votes:  # a tie everywhere
            return Tally(d, 1).majority(policies.tie, seed=policies.seed, step=step % 2**32)
        on_host = votes[0].backend is core.numpy_backend()
        out = frame.blank(d, policies.tie == "abstain") if on_host else None
        return policies.majority(votes, step=step, out=out)


def encoder_of(policies: Policies, code: AllocationCode, workers: tuple[int, ...]) -> Encoder:
    """Make the encoder of the workers of one process: one, none (a server), or all."""
    if len(workers) <= 1:
        return OneWorker(policies, code, workers)
    if workers != tuple(range(code.num_workers)):
        raise ValueError(
            "Election: a process must hold one worker, none (a server) or all, "
            f"got workers {workers} of {code.num_workers}"
        )
    return AllWorkers(policies, code)


class OneWorker:
    """Encodes for a single worker, or none: casts are kept as a tally; individual votes are not stored."""

    def __init__(self, policies: Policies, code: AllocationCode, workers: tuple[int, ...]) -> None:
        self._policies = policies
        self._workers = workers
        self._num_partitions = sum(len(code.partitions(worker)) for worker in workers)
        self._tally: Tally | None = None
        self._message: frame.FramedSigns | None = None

    def _tally_of(self, d: int) -> Tally:
        if self._tally is None or self._tally.d != d:
            self._tally = Tally(d, max(1, self._num_partitions))
        return self._tally

    def add(self, partition: int, x: Any, step: int) -> None:
        """Count the signs of one partition."""
        p = self._policies
        self._tally_of(x.shape[0]).add(x, zero=p.zero, nan=p.nan, seed=p.seed, step=step % 2**32, stream=partition)

    def messages(self, d: int, step: int) -> dict[int, PackedSigns]:
        """Return the worker's local vote, counted right into the frame that goes out; a worker without any abstains."""
        if not self._num_partitions:
            nothing = np.zeros(words_for(d), dtype=np.uint64)
            return {worker: PackedSigns(nothing, d, nothing) for worker in self._workers}
        tally, p = self._tally_of(d), self._policies
        out = self._blank(d) if tally.on_host else None
        return {
            worker: tally.majority(p.tie, seed=p.seed, step=step % 2**32, stream=worker + 1, out=out)
            for worker in self._workers
        }

    def _blank(self, d: int) -> frame.FramedSigns:
        """Return the frame of the step before where it fits: nothing needs it any more."""
        if self._message is None or self._message.d != d:
            self._message = frame.blank(d, self._policies.tie == "abstain")
        return self._message

    def reset(self) -> None:
        if self._tally is not None:
            self._tally.reset()


class AllWorkers:
    """Encodes for all workers of an election: keeps one packed row per partition, since workers share partitions."""

    def __init__(self, policies: Policies, code: AllocationCode) -> None:
        self._policies = policies
        self._code = code
        self._held = {int(j) for j in np.flatnonzero(code.allocation.any(axis=0))}
        self._holder: core.Backend = core.numpy_backend()  # where the rows are, and the local votes
        self._words = self._masks = self._holder.empty((code.num_partitions, 0))
        self._masked: set[int] = set()
        self._is_new = True  # nothing is cast yet in this step

    def add(self, partition: int, x: Any, step: int) -> None:
        """Keep the signs of one partition."""
        if not isinstance(x, PackedSigns):
            x = self._policies.pack(x, step=step, stream=partition)
        if self._is_new:
            self._holder = core.numpy_backend() if x.backend.core is core.cpu else x.backend
        self._fit(x.d)
        words, mask = x.like(self._holder).arrays()
        self._words[partition] = words
        self._is_new = False
        if mask is not None:
            self._masks[partition] = mask
            self._masked.add(partition)
        else:
            self._masked.discard(partition)

    def _fit(self, d: int) -> None:
        """Have memory for d coordinates, where the first cast of the step is."""
        shape = (self._code.num_partitions, words_for(d))
        if tuple(self._words.shape) != shape or core.backend_of(self._words, "cast") is not self._holder:
            self._words, self._masks = self._holder.empty(shape), self._holder.empty(shape)

    def votes(self, d: int) -> PackedSigns:
        """Return what was cast, ``(k, d)``: what attackers know who see everything."""
        self._fit(d)
        masks = None
        if self._masked:
            masks = self._masks
            full = self._holder.adopt(full_mask(d))
            for partition in self._held - self._masked:
                masks[partition] = full
        return PackedSigns(self._words, d, masks)

    def messages(self, d: int, step: int) -> dict[int, PackedSigns]:
        """Return every worker's local vote; workers without partitions abstain."""
        p, workers = self._policies, range(self._code.num_workers)
        rows = local_majorities(self.votes(d), self._code, p.tie, seed=p.seed, step=step % 2**32)
        idle = {i for i in workers if not self._code.partitions(i)}
        return {i: rows[i] if p.tie == "abstain" or i in idle else PackedSigns(rows.words[i], d) for i in workers}

    def reset(self) -> None:
        self._masked.clear()
        self._is_new = True
