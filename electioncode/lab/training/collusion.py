"""An election in which the Byzantine workers see every message before they send their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from electioncode.core import full_mask, words_for
from electioncode.election import Election
from electioncode.robustness import check_attackers, omniscient
from electioncode.votes import PackedSigns


def colluding_election(code: Any, transport: Any, colluders: Sequence[int], **others: Any) -> Election:
    """Make an election in which some workers collude and know everything.

    Args:
        code, others: as :class:`electioncode.Election` takes them.
        transport: of all workers in one process.
        colluders: the Byzantine workers.

    Wherever the colluders can turn the result away from the majority of the partitions' signs they do; elsewhere
    they send their honest messages (see :func:`electioncode.adversaries.omniscient`). This is the worst case of
    the paper's Theorem 3.
    """
    liars = check_attackers(colluders, code.num_workers, "colluding_election")

    def coalition(honest: Mapping[int, PackedSigns], step: int) -> dict[int, PackedSigns]:
        d = honest[0].d
        cast, policies = election.encoder.votes(d), election.policies  # type: ignore[attr-defined]
        assert policies is not None
        truth = policies.majority([_numpy(cast[j]) for j in election.partitions], step=step)
        sent = omniscient(_stack(honest, d), liars, truth, policies.tie, seed=policies.seed, step=step)
        return {worker: _plain(sent[worker]) for worker in liars}

    election = Election(code, transport, coalition=coalition, **others)
    return election


def _numpy(votes: PackedSigns) -> PackedSigns:
    words, mask = votes.numpy()
    return PackedSigns(words, votes.d, mask)


def _stack(messages: Mapping[int, PackedSigns], d: int) -> PackedSigns:
    """Return the messages of all workers as ``(n, d)``, always with a mask."""
    words = np.empty((len(messages), words_for(d)), dtype=np.uint64)
    mask = np.empty_like(words)
    for worker, vote in messages.items():
        words[worker], voted = vote.numpy()
        mask[worker] = full_mask(d) if voted is None else voted
    return PackedSigns(words, d, mask)


def _plain(vote: PackedSigns) -> PackedSigns:
    """Return the same votes, without a mask where everything voted: a message of half the size."""
    full = vote.mask is None or np.array_equal(vote.mask, full_mask(vote.d))
    return PackedSigns(vote.words, vote.d) if full else vote
