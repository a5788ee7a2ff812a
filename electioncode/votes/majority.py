"""Count majority votes on packed signs: the global vote, every worker's local vote, and both in one pass.

One rule holds everywhere. With s_ic in {-1, 0, +1} the sign of voter i at coordinate c (0: it abstained) and w_i its
integer weight, the score is S_c = sum_i w_i * s_ic; the winner is its sign, and S_c = 0 is a tie, which the tie
policy decides: "plus", "minus", "random" (one more voter, with random bits) or "abstain" (the result has a mask).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from electioncode import core
from electioncode.codes import AllocationCode
from electioncode.votes.packed import PackedSigns, new_votes, outputs

MAX_TOTAL_WEIGHT = 2**40


def _rows(votes: PackedSigns | Sequence[PackedSigns], function: str) -> tuple[Any, Any, int, int, Any]:
    """Return (words, masks, n, d, backend) as the core takes voters: one 2-D array, or rows that lie anywhere."""
    if isinstance(votes, PackedSigns):
        if votes.ndim != 2:
            raise ValueError(f"{function}: votes must have shape (n, d), got {votes.shape}")
        backend = core.in_graph(votes.backend, votes.words)
        return (*votes.arrays(backend), votes.shape[0], votes.d, backend)
    voters = list(votes)
    if not voters:
        raise ValueError(f"{function}: votes must have at least 1 voter, got 0")
    d = voters[0].d
    for v in voters:
        if v.shape != (d,):
            raise ValueError(f"{function}: every voter must have shape ({d},) like the first, got {v.shape}")
    if any(v.backend.core is not voters[0].backend.core for v in voters):
        raise TypeError(f"{function}: every voter must be on the device of the first")
    backend = core.in_graph(voters[0].backend, voters[0].words)
    pairs = [v.arrays(None if backend is backend.eager else backend) for v in voters]
    return [p[0] for p in pairs], [p[1] for p in pairs], len(voters), d, backend


def _weights(weights: Any, n: int, function: str) -> list[int] | None:
    if weights is None:
        return None
    if isinstance(weights, list) and len(weights) == n and all(type(w) is int for w in weights):
        values = weights  # as a graph of torch.compile can hold them
    else:
        array = np.asarray(weights)
        if array.shape != (n,) or array.dtype.kind not in "iu":
            raise ValueError(f"{function}: weights must be {n} integers, got {array.dtype} of shape {array.shape}")
        values = array.tolist()
    total = sum([abs(w) for w in values])
    if total > MAX_TOTAL_WEIGHT:
        raise ValueError(f"{function}: absolute weights must sum to at most 2**40, got {total}")
    return values


def majority(
    votes: PackedSigns | Sequence[PackedSigns],
    tie: str = "plus",
    weights: Any = None,
    *,
    seed: int = 0,
    step: int = 0,
    stream: int = 0,
    out: PackedSigns | None = None,
    return_disagreement: bool = False,
) -> Any:
    """Return the majority of n voters at every coordinate.

    Args:
        votes: PackedSigns ``(n, d)``, or a sequence of n PackedSigns ``(d,)`` that may lie anywhere in memory.
        tie: "plus", "minus", "random" or "abstain" (the result then has a mask).
        weights: ``(n,)`` integers, negative ones count the opposite vote; absolute sum at most 2**40. None: all 1.
        seed, step, stream: of the random bits, each 0 to 2**32 - 1.
        out: PackedSigns ``(d,)`` to fill, with a mask exactly where tie is "abstain".
        return_disagreement: also return what :func:`disagreement` would, counted while the votes are in the cache.

    Returns PackedSigns ``(d,)``, or that and ``(n,)`` int64. Equals
    ``np.sign(weights @ votes.unpack(np.int64))`` with the tie policy at 0. Counts with carry-save
    adders on words. (Election Coding, Section 2: the decoder, and the encoder of one worker.)
    """
    words, masks, n, d, backend = _rows(votes, "majority")
    policy = core.choice("majority", "tie", tie, core.TIE)
    keys = core.key("majority", seed=seed, step=step, stream=stream)
    result = new_votes(backend, (), d, tie == "abstain", out, "majority")
    signed = _weights(weights, n, "majority")
    targets = outputs(result, "majority", backend)
    counts = backend.core.majority(words, masks, signed, d, policy, *keys, *targets, return_disagreement)
    return (result, backend.integers(counts)) if return_disagreement else result


def local_majorities(
    votes: PackedSigns,
    code: AllocationCode,
    tie: str = "plus",
    *,
    seed: int = 0,
    step: int = 0,
    out: PackedSigns | None = None,
) -> PackedSigns:
    """Return every worker's message: the majority of the partitions that it holds.

    Args:
        votes: PackedSigns ``(k, d)``, row j the signs of partition j.
        code: an AllocationCode of k partitions.
        tie: as in :func:`majority`. Worker i draws from stream i + 1. A worker without partitions abstains.
        out: PackedSigns ``(n, d)`` to fill, with a mask exactly where tie is "abstain" or a worker is idle.

    Returns PackedSigns ``(n, d)``. Equals ``np.sign(code.allocation @ votes.unpack(np.int64))`` with the tie policy
    at 0. (Election Coding, Section 2: c_i = maj{m_j : j in P_i}.)
    """
    arguments = _coded(votes, code, tie, seed, step, "local_majorities")
    masked = tie == "abstain" or any(not code.partitions(i) for i in range(code.num_workers))
    result = new_votes(votes.backend, (code.num_workers,), votes.d, masked, out, "local_majorities")
    votes.backend.core.local_majorities(*arguments, *outputs(result, "local_majorities"))
    return result


def coded_majority(
    votes: PackedSigns,
    code: AllocationCode,
    tie: str = "plus",
    *,
    seed: int = 0,
    step: int = 0,
    out: PackedSigns | None = None,
) -> PackedSigns:
    """Return what honest workers elect: ``majority(local_majorities(votes, code))``, without storing any message.

    Args:
        votes: PackedSigns ``(k, d)``, row j the signs of partition j.
        code: an AllocationCode of k partitions.
        tie: of the workers' votes and of the vote among them, as in :func:`majority`.
        out: PackedSigns ``(d,)`` to fill, with a mask exactly where tie is "abstain".

    Returns PackedSigns ``(d,)``. Reads k packed rows and writes one. (Election Coding, Section 2.)
    """
    arguments = _coded(votes, code, tie, seed, step, "coded_majority")
    result = new_votes(votes.backend, (), votes.d, tie == "abstain", out, "coded_majority")
    votes.backend.core.coded_majority(*arguments, *outputs(result, "coded_majority"))
    return result


def _coded(votes: PackedSigns, code: AllocationCode, tie: str, seed: int, step: int, function: str) -> tuple[Any, ...]:
    """Return partitions and code as the core takes them: row i of the code is members[first[i]:first[i + 1]]."""
    if not isinstance(votes, PackedSigns) or votes.ndim != 2:
        raise ValueError(f"{function}: votes must be PackedSigns of shape (k, d)")
    if votes.shape[0] != code.num_partitions:
        raise ValueError(
            f"{function}: votes must have {code.num_partitions} rows, one per partition, got {votes.shape[0]}"
        )
    policy = core.choice(function, "tie", tie, core.TIE)
    keys = core.key(function, seed=seed, step=step)
    workers, partitions = np.nonzero(code.allocation)
    first, members = np.searchsorted(workers, range(code.num_workers + 1)).tolist(), partitions.tolist()
    return (*votes.arrays(), first, members, votes.d, policy, *keys)


def disagreement(votes: PackedSigns | Sequence[PackedSigns], winner: PackedSigns) -> Any:
    """Count how often each voter differs from the winner.

    Args:
        votes: PackedSigns ``(n, d)``, or a sequence of n PackedSigns ``(d,)``.
        winner: PackedSigns ``(d,)``.

    Returns ``(n,)`` int64: coordinates at which both voted, and differently. Equals
    ``(votes.unpack() * winner.unpack() == -1).sum(axis=1)``.
    """
    words, masks, _, d, backend = _rows(votes, "disagreement")
    if winner.shape != (d,):
        raise ValueError(f"disagreement: winner must have shape ({d},), got {winner.shape}")
    if winner.backend.core is not backend.eager.core:
        raise TypeError("disagreement: winner must be on the device of the votes")
    result = winner.arrays(None if backend is backend.eager else backend)
    counts = backend.core.disagreement(words, masks, *result, d)
    return backend.integers(counts)
