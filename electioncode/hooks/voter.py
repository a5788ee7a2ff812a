"""Vote on buckets at one rank: momentum, signs, the majority of the rank's partitions, and what all ranks elect.

Two implementations give the same votes: `voter_cpu` looks at each parameter, since the host decides what is packed;
`voter_cuda` queues everything on the device, and the host never waits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from electioncode.codes import AllocationCode, uncoded
from electioncode.core import tensors
from electioncode.hooks.exchange import exchange, to_words
from electioncode.hooks.layout import Layout, ParameterSlot, memory_order
from electioncode.votes import PackedSigns, Policies

WHO = "majority_vote_hook"
SPARSE = (
    f"{WHO}: gradients must be dense, got a sparse one; use Embedding(sparse=False), and zero='abstain' so "
    "that rows without a gradient do not vote"
)


def code_of(group: Any, code: AllocationCode | None, who: str) -> AllocationCode:
    """Return the code (None: uncoded), which must have a worker for each rank of the group."""
    n = dist.get_world_size(group)
    if code is not None and code.num_workers != n:
        raise ValueError(f"{who}: code must have a worker for each of the {n} ranks, got {code.num_workers}")
    return uncoded(n) if code is None else code


@dataclass(frozen=True)
class BucketVote:
    """How n ranks vote on a bucket: the format of a message, and the majorities of encoder and decoder.

    A message says which parameters its rank votes on, one bit each; then come the votes, and their mask where policies
    let some coordinates of a parameter abstain (`masked`). Any bytes of the right number are votes, so nothing in a
    message can be malformed.
    """

    num_ranks: int
    policies: Policies
    masked: bool

    def message_words(self, layout: Layout) -> int:
        """Return the number of words in a message."""
        return layout.num_flags + layout.num_words * (2 if self.masked else 1)

    def planes(self, layout: Layout, messages: Any) -> tuple[Any, Any, Any]:
        """Return flags, words and mask (or None) of one message, or of one per row: views."""
        first, end = layout.num_flags, layout.num_flags + layout.num_words
        return messages[..., :first], messages[..., first:end], messages[..., end:] if self.masked else None

    def majority(self, layout: Layout, rows: Any, step: int, stream: int) -> PackedSigns:
        """Return the majority of whole rows.

        Random ties are drawn per parameter, so that the result does not depend on how parameters fall into buckets.
        """
        if self.policies.tie != "random":
            return self.policies.majority(rows, step=step)
        winner = rows[0].backend.empty((layout.num_words,))
        for slot, at in zip(layout.slots, layout.words, strict=True):
            d = 64 * (at.stop - at.start)
            cut = [PackedSigns(r.words[at], d, None if r.mask is None else r.mask[at]) for r in rows]
            own = stream + slot.index * (self.num_ranks + 1)
            winner[at] = self.policies.majority(cut, step=step, stream=own).words
        return PackedSigns(winner, 64 * layout.num_words)


@dataclass
class BucketVoter(ABC):
    """What one rank votes. Momentum belongs to the caller; casts are kept until the step ends."""

    device: torch.device  # where votes are packed and counted
    slots: list[ParameterSlot]
    vote: BucketVote
    rank: int
    partitions: tuple[int, ...]  # those of this rank
    momentum_buffers: dict[int, dict[str, torch.Tensor]]  # partition -> parameter name -> momentum, filled here
    momentum: float
    min_size: int  # parameters of fewer elements are not voted on
    attacks: Mapping[int, Callable[..., PackedSigns]]
    # Partition -> what it voted on the whole model, for the partitions of this step that came before the last.
    casts: dict[int, Any] = field(default_factory=dict)

    @torch.no_grad()
    def cast(self, partition: int, step: int) -> None:
        """Pack the gradients that the parameters hold, and clear them."""
        grads: list[torch.Tensor | None] = []
        for slot in self.slots:
            grad = slot.parameter.grad
            if grad is not None and grad.is_sparse:
                raise ValueError(SPARSE)
            counts = grad is not None and slot.parameter.numel() >= self.min_size
            grads.append(memory_order(grad, slot.parameter).to(self.device) if counts and grad is not None else None)
        self.casts[partition] = self._cast(grads, partition, step)
        for slot in self.slots:
            slot.parameter.grad = None

    def message(self, layout: Layout, values: torch.Tensor, step: int) -> torch.Tensor:
        """Return what this rank sends for a bucket, whose elements are in `values`: words, see `BucketVote`."""
        remaining = [p for p in self.partitions if p not in self.casts]
        if len(remaining) > 1:
            raise RuntimeError(
                f"{WHO}: this rank holds partitions {self.partitions}, of which {remaining} are not cast "
                "yet; compute each in `with state.partition(partition):`"
            )
        message = torch.zeros(self.vote.message_words(layout), dtype=torch.int64, device=self.device)
        if not remaining or not layout.slots:  # an idle rank abstains
            return message
        self._fill(message, layout, values.to(self.device), step, remaining[0])
        if self.rank in self.attacks:
            flags, words, mask = self.vote.planes(layout, message)
            honest = PackedSigns(words.clone(), 64 * layout.num_words)
            lie = self.attacks[self.rank](honest, worker=self.rank, step=step)
            words.copy_(torch.from_numpy(lie.numpy()[0].view(np.int64)))
            flags.fill_(-1)
            if mask is not None:
                mask.fill_(-1)
        return message

    def count(self, layout: Layout, inbox: torch.Tensor, values: torch.Tensor, step: int) -> PackedSigns:
        """Return the winner of all messages ``(n, bytes)``; write its signs to `values`, 0 where nobody voted."""
        here = values if values.device == self.device else torch.empty_like(values, device=self.device)
        winner = self._count(layout, to_words(inbox, self.device), here, step)
        if here is not values:
            values.copy_(here)
        return winner

    @abstractmethod
    def _cast(self, grads: list[torch.Tensor | None], partition: int, step: int) -> Any: ...

    @abstractmethod
    def _fill(self, message: torch.Tensor, layout: Layout, values: torch.Tensor, step: int, partition: int) -> None: ...

    @abstractmethod
    def _count(self, layout: Layout, messages: torch.Tensor, values: torch.Tensor, step: int) -> PackedSigns: ...

    def _pack(
        self,
        slots: Sequence[ParameterSlot],
        xs: Sequence[torch.Tensor],
        planes: tuple[Any, Any],
        partition: int,
        step: int,
        used: torch.Tensor | None = None,
    ) -> bool:
        """Pack signs, and abstentions where there is a mask, of neighbouring tensors; momentum takes its step."""
        beta, p = self.momentum, self.vote.policies
        momenta = [self._buffer(slot, x, partition) for slot, x in zip(slots, xs, strict=True)] if beta else None
        # Random bits of zeros are drawn per parameter: whoever packs several at once does not draw.
        stream = tensors.RandomStream(p.seed, step % 2**32, partition, slots[0].first)
        rule = tensors.MomentumRule(beta, 1 - beta)
        return tensors.pack_tensors(WHO, xs, momenta, rule, planes, (p.zero, p.nan), stream, used)

    def _buffer(self, slot: ParameterSlot, like: torch.Tensor, partition: int) -> torch.Tensor:
        buffers = self.momentum_buffers.setdefault(partition, {})
        buffer = buffers.get(slot.name)
        if buffer is None:
            buffers[slot.name] = buffer = torch.zeros_like(like)
        elif not buffer.is_contiguous() or buffer.numel() != like.numel():
            raise RuntimeError(f"{WHO}: {slot.name!r} has {like.numel()} elements and its momentum {buffer.numel()}")
        elif buffer.dtype != like.dtype or buffer.device != like.device:
            buffers[slot.name] = buffer = buffer.to(like)
        return buffer


class BucketRound:
    """The round of one bucket in one step: its message, the exchange, the count, and the checksum of the winner."""

    def __init__(self, voter: BucketVoter, layout: Layout, values: torch.Tensor, step: int) -> None:
        self.layout, self.values, self.step = layout, values, step
        self._voter = voter
        self.winner: PackedSigns | None = None
        self.inbox: torch.Tensor | None = None

    def message(self) -> torch.Tensor:
        """Return what this rank sends."""
        return self._voter.message(self.layout, self.values, self.step)

    def exchange(self, message: torch.Tensor, group: Any) -> Any:
        """Start to exchange messages, and return the work to wait for."""
        self.inbox, work = exchange(message, group)
        return work

    @property
    def bytes_sent(self) -> int:
        """What the exchange sends to other ranks."""
        return 0 if self.inbox is None else self.inbox[1:].numel()

    def count(self) -> None:
        """Count what has come, and write the winner's signs to the values."""
        assert self.inbox is not None
        self.winner = self._voter.count(self.layout, self.inbox, self.values, self.step)

    def checksum(self) -> int:
        """Return the checksum of the winner, which does not depend on the bucket's padding."""
        assert self.winner is not None
        return self.layout.checksum(self.winner)
