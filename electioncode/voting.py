"""Majority votes on packed signs: the global vote, every worker's local vote, and a tally of votes as they come.

One rule holds everywhere. With s_ic in {-1, 0, +1} the sign of voter i at coordinate c (0: it abstained) and w_i its
integer weight, the score is S_c = sum_i w_i * s_ic; the winner is its sign, and S_c = 0 is a tie, which the tie
policy decides: "plus", "minus", "random" (one more voter, with random bits) or "abstain" (the result has a mask).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from electioncode import _backend
from electioncode.signs import PackedSigns, new_votes, outputs, pack, words_for

if TYPE_CHECKING:
    from electioncode.codes import AllocationCode

MAX_TOTAL_WEIGHT = 2**40


def _rows(votes: PackedSigns | Sequence[PackedSigns], function: str) -> tuple[Any, Any, int, int, Any]:
    """(words, masks, n, d, backend) as the core takes voters: one 2-D array, or rows that lie anywhere.

    Where they are traced, lists of tensors as the operators take them, and no backend.
    """
    if isinstance(votes, PackedSigns):
        if votes.ndim != 2:
            raise ValueError(f"{function}: votes must have shape (n, d), got {votes.shape}")
        if votes.backend.traceable and votes.backend.is_traced(votes.words):
            return [votes.words], [votes.mask], votes.shape[0], votes.d, None
        return (*votes.arrays(), votes.shape[0], votes.d, votes.backend)
    voters = list(votes)
    if not voters:
        raise ValueError(f"{function}: votes must have at least 1 voter, got 0")
    d = voters[0].d
    for v in voters:
        if v.shape != (d,):
            raise ValueError(f"{function}: every voter must have shape ({d},) like the first, got {v.shape}")
    if voters[0].backend.traceable and voters[0].backend.is_traced(voters[0].words):
        return [v.words for v in voters], [v.mask for v in voters], len(voters), d, None
    if any(v.backend.core is not voters[0].backend.core for v in voters):
        raise TypeError(f"{function}: every voter must be on the device of the first")
    pairs = [v.arrays() for v in voters]
    return [p[0] for p in pairs], [p[1] for p in pairs], len(voters), d, voters[0].backend


def _weights(weights: Any, n: int, function: str) -> list[int] | None:
    if weights is None:
        return None
    array = np.asarray(weights)
    if array.shape != (n,) or array.dtype.kind not in "iu":
        raise ValueError(f"{function}: weights must be {n} integers, got {array.dtype} of shape {array.shape}")
    values = [int(w) for w in array]
    if sum(abs(w) for w in values) > MAX_TOTAL_WEIGHT:
        raise ValueError(f"{function}: absolute weights must sum to at most 2**40, got {sum(abs(w) for w in values)}")
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
    """The majority of n voters at every coordinate.

    Args:
        votes: PackedSigns ``(n, d)``, or a sequence of n PackedSigns ``(d,)`` that may lie anywhere in memory.
        tie: "plus", "minus", "random" or "abstain" (the result then has a mask).
        weights: ``(n,)`` integers, negative ones count the opposite vote; absolute sum at most 2**40. None: all 1.
        seed, step, stream: of the random bits, each 0 to 2**32 - 1.
        out: PackedSigns ``(d,)`` to fill, with a mask exactly where tie is "abstain".
        return_disagreement: also returns what :func:`disagreement` would, read while the votes are in the cache.

    Returns PackedSigns ``(d,)``, or that and ``(n,)`` int64. Equals
    ``np.sign(weights @ votes.unpack(np.int64))`` with the tie policy at 0. Counts with carry-save
    adders on words. (Election Coding, Section 2: the decoder, and the encoder of one worker.)
    """
    words, masks, n, d, backend = _rows(votes, "majority")
    policy = _backend.policy("majority", "tie", tie, _backend.TIE)
    keys = _backend.key("majority", seed=seed, step=step, stream=stream)
    if backend is None:
        from electioncode import torch_ops  # needs torch, and this module

        winner = torch_ops.traced_majority(words, masks, d, tie, weights, keys, out)
        return (winner, disagreement(votes, winner)) if return_disagreement else winner
    result = new_votes(backend, (), d, tie == "abstain", out, "majority")
    signed = _weights(weights, n, "majority")
    targets = outputs(result, "majority")
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
    """Every worker's message: the majority of the partitions that it holds.

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
    """What honest workers elect: ``majority(local_majorities(votes, code))`` without storing any message.

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
    """Partitions and code as the core takes them: row i of the code is members[first[i]:first[i + 1]]."""
    if not isinstance(votes, PackedSigns) or votes.ndim != 2:
        raise ValueError(f"{function}: votes must be PackedSigns of shape (k, d)")
    if votes.shape[0] != code.num_partitions:
        raise ValueError(
            f"{function}: votes must have {code.num_partitions} rows, one a partition, got {votes.shape[0]}"
        )
    policy = _backend.policy(function, "tie", tie, _backend.TIE)
    keys = _backend.key(function, seed=seed, step=step)
    workers, partitions = np.nonzero(code.allocation)
    first, members = np.searchsorted(workers, range(code.num_workers + 1)).tolist(), partitions.tolist()
    return (*votes.arrays(), first, members, votes.d, policy, *keys)


def disagreement(votes: PackedSigns | Sequence[PackedSigns], winner: PackedSigns) -> Any:
    """How often each voter differs from the winner.

    Args:
        votes: PackedSigns ``(n, d)``, or a sequence of n PackedSigns ``(d,)``.
        winner: PackedSigns ``(d,)``.

    Returns ``(n,)`` int64: coordinates at which both voted, and differently. Equals
    ``(votes.unpack() * winner.unpack() == -1).sum(axis=1)``.
    """
    words, masks, _, d, backend = _rows(votes, "disagreement")
    if winner.shape != (d,):
        raise ValueError(f"disagreement: winner must have shape ({d},), got {winner.shape}")
    if backend is None:
        from electioncode import torch_ops

        return torch_ops.ops.disagreement(words, masks, winner.words, winner.mask, d)
    if winner.backend.core is not backend.core:
        raise TypeError("disagreement: winner must be on the device of the votes")
    counts = backend.core.disagreement(words, masks, *winner.arrays(), d)
    return backend.integers(counts)


class Tally:
    """A vote that is counted as the votes arrive.

    Args:
        d: the number of coordinates.
        max_votes: an upper bound on the sum of absolute weights that will be added, at most 2**40.

    Holds carry-save counters, 2 rows of ``ceil(d / 64)`` words a plane at most, and no vote. Adding a vote costs one
    full adder a word on average, whatever has been counted before.
    """

    def __init__(self, d: int, max_votes: int) -> None:
        if d < 0:
            raise ValueError(f"Tally: d must be at least 0, got {d}")
        if not 1 <= max_votes <= MAX_TOTAL_WEIGHT:
            raise ValueError(f"Tally: max_votes must be from 1 to 2**40, got {max_votes}")
        self.d = int(d)
        self.max_votes = int(max_votes)
        self._free: list[Any] = []
        self._scratch: dict[bool, PackedSigns] = {}
        self._backend: _backend.Backend = _backend.numpy_backend()  # of the last vote
        self._holder: _backend.Backend = self._backend  # whose core counts
        self._planes: list[list[Any]] = []
        self.reset()

    def reset(self) -> None:
        """Forgets all votes and keeps the memory."""
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
        """Adds one vote: PackedSigns ``(d,)``, or floats ``(d,)`` whose signs are taken as :func:`pack` takes them.

        The counters are where the first vote is, on the CPU or a CUDA device; later ones are copied there.
        Raises ValueError where d differs or the weights add up to more than max_votes; nothing is counted then.
        """
        if isinstance(weight, bool) or not isinstance(weight, (int, np.integer)):
            raise TypeError(f"Tally.add: weight must be an integer, got {type(weight).__name__}")
        if self.total_weight + abs(int(weight)) > self.max_votes:
            raise ValueError(
                f"Tally.add: weights must sum to at most max_votes = {self.max_votes}, "
                f"got {self.total_weight + abs(int(weight))}"
            )
        if not isinstance(votes, PackedSigns):
            masked = "abstain" in (zero, nan)
            _backend.backend_of(votes, "Tally.add", "votes")
            if tuple(votes.shape) != (self.d,):
                raise ValueError(f"Tally.add: votes must have shape ({self.d},), got {tuple(votes.shape)}")
            votes = self._pack(votes, masked, zero=zero, nan=nan, seed=seed, step=step, stream=stream)
        elif votes.shape != (self.d,):
            raise ValueError(f"Tally.add: votes must have shape ({self.d},), got {votes.shape}")
        else:
            self._backend = votes.backend
        if self.num_votes == 0:
            self._hold(self._backend)
        words, mask = votes.like(self._holder).arrays()
        against = _backend.MASK_AND_NOT_ROW if weight < 0 else _backend.ROW_OR_NOT_MASK
        vote = _backend.NOT_ROW if weight < 0 else _backend.ROW
        for bit in range(int(abs(weight)).bit_length()):
            if not abs(int(weight)) >> bit & 1:
                continue
            if mask is None:
                self._count(words, None, vote, bit + 1)
            else:
                self._count(words, mask, vote, bit)
                self._count(words, mask, against, bit)
        self.total_weight += abs(int(weight))
        self.num_votes += 1

    def _pack(self, x: Any, masked: bool, **policies: Any) -> PackedSigns:
        backend = _backend.backend_of(x, "Tally.add", "votes")
        scratch = self._scratch.get(masked)
        if scratch is None or scratch.backend is not backend:
            scratch = self._scratch[masked] = new_votes(backend, (), self.d, masked, None, "Tally.add")
        self._backend = backend
        return pack(x, out=scratch, **policies)

    def _hold(self, backend: _backend.Backend) -> None:
        if backend.core is not self._holder.core:
            self._free.clear()
        self._holder = backend

    def _count(self, words: Any, mask: Any, kind: int, plane: int) -> None:
        """Adds a bit of weight 2**plane: through the planes that hold two rows, into the first that does not."""
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
        row = self._holder.words((words_for(self.d),))
        return self._holder.output(row, "Tally.add")

    def _counters(self) -> tuple[list[Any], list[int]]:
        rows = [(row, plane) for plane, held in enumerate(self._planes) for row in held]
        return [row for row, _ in rows], [plane for _, plane in rows]

    def majority(
        self,
        tie: str = "plus",
        *,
        seed: int = 0,
        step: int = 0,
        stream: int = 0,
        out: PackedSigns | None = None,
    ) -> PackedSigns:
        """The majority so far, PackedSigns ``(d,)``, as :func:`majority` of all votes added; the count goes on."""
        policy = _backend.policy("Tally.majority", "tie", tie, _backend.TIE)
        keys = _backend.key("Tally.majority", seed=seed, step=step, stream=stream)
        backend = self._backend if self._backend.core is self._holder.core else self._holder
        if out is not None and isinstance(out, PackedSigns) and out.backend.core is backend.core:
            backend = out.backend  # any array that the core can write to
        result = new_votes(backend, (), self.d, tie == "abstain", out, "Tally.majority")
        rows, planes = self._counters()
        targets = outputs(result, "Tally.majority")
        self._holder.core.counters_majority(rows, planes, 2 * self.total_weight, self.d, policy, *keys, *targets)
        return result

    def margin(self) -> Any:
        """``(d,)`` int32: the score of each coordinate, votes for +1 minus votes for -1, weighted.

        Raises OverflowError where the weights add up to 2**30 or more.
        """
        if self.total_weight >= 2**30:
            raise OverflowError(f"Tally.margin: weights must sum to less than 2**30, got {self.total_weight}")
        rows, planes = self._counters()
        backend = self._backend if self._backend.core is self._holder.core else self._holder
        out = backend.new((self.d,), "int32")
        backend.core.counters_margin(rows, planes, self.total_weight, self.d, out)
        return backend.integers(out)
