"""An election in which the Byzantine workers see every message before they send their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from electioncode.core import full_mask, words_for
from electioncode.election import Election
from electioncode.robustness import check_attackers, omniscient
from electioncode.transport import InProcessTransport
from electioncode.votes import PackedSigns, majority


class ColludingElection(Election):
    """All workers in one process; some of them collude and know everything.

    Args:
        colluders: the Byzantine workers.
        others: as :class:`electioncode.Election` takes them; the transport must be an InProcessTransport.

    Wherever the colluders can turn the result away from the majority of the partitions' signs they do; elsewhere
    they send their honest messages (see :func:`electioncode.adversaries.omniscient`). This is the worst case of
    the paper's Theorem 3. Signs must be on the CPU.
    """

    def __init__(self, code: Any, transport: Any, *, colluders: Sequence[int], **others: Any) -> None:
        if not isinstance(transport, InProcessTransport):
            raise ValueError(
                "ColludingElection: transport must be an InProcessTransport, since colluders see all messages, "
                f"got {type(transport).__name__}"
            )
        super().__init__(code, transport, **others)
        self.colluders = check_attackers(colluders, code.num_workers, "ColludingElection")

    def _messages(self, d: int) -> dict[int, PackedSigns]:
        honest = super()._messages(d)
        cast = self._ballots.votes(d)  # type: ignore[union-attr]
        seed, step = self.seed, self.step
        truth = majority([_numpy(cast[j]) for j in self.partitions], self.tie, seed=seed, step=step)
        sent = omniscient(_stack(honest, d), self.colluders, truth, self.tie, seed=seed, step=step)
        return {**honest, **{worker: _plain(sent[worker]) for worker in self.colluders}}


def _numpy(votes: PackedSigns) -> PackedSigns:
    words, mask = votes.numpy()
    return PackedSigns(words, votes.d, mask)


def _stack(messages: dict[int, PackedSigns], d: int) -> PackedSigns:
    """Messages of all workers as (n, d), always with a mask."""
    words = np.empty((len(messages), words_for(d)), dtype=np.uint64)
    mask = np.empty_like(words)
    for worker, vote in messages.items():
        words[worker], voted = vote.numpy()
        mask[worker] = full_mask(d) if voted is None else voted
    return PackedSigns(words, d, mask)


def _plain(vote: PackedSigns) -> PackedSigns:
    """The same votes, without a mask where everything voted: a message of half the size."""
    full = vote.mask is None or np.array_equal(vote.mask, full_mask(vote.d))
    return PackedSigns(vote.words, vote.d) if full else vote
