"""What one rank votes on the buckets of a DDP model: momentum, signs, and the majority of the partitions it holds.

Two implementations of the same votes: on the CPU each parameter is looked at where the host decides what is packed; on
a CUDA device everything is queued and the host never waits.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from electioncode import core
from electioncode.core import tensors, words_for
from electioncode.hooks.layout import Layout, Poll, Slot, as_floats, brought, is_zero, memory_order
from electioncode.votes import PackedSigns

SPARSE = (
    "majority_vote_hook: gradients must be dense, got a sparse one; use Embedding(sparse=False), and zero='abstain' so "
    "that rows without a gradient do not vote"
)


def ballots_for(slots: list[Slot], *arguments: Any, **options: Any) -> Ballots:
    """Those of the device on which the parameters are; of the CPU where this build has no kernels for it."""
    device = slots[0].parameter.device if slots else torch.device("cpu")
    if device.type != "cpu" and core.cuda_unavailable():
        why = core.cuda_unavailable()
        warnings.warn(f"majority_vote_hook: gradients are copied to the CPU to vote: {why}", stacklevel=4)
    elif slots and core.backend_of(slots[0].parameter, "majority_vote_hook", "parameters").name == "cuda":
        from electioncode.hooks.voter_cuda import CudaBallots

        return CudaBallots(device, slots, *arguments, **options)
    return CpuBallots(torch.device("cpu"), slots, *arguments, **options)


class Ballots(ABC):
    """The voter at one rank.

    `momentum_buffers` is partition -> parameter name -> momentum, and belongs to the caller. `casts` is partition ->
    what it voted on the whole model, for partitions of the step that came before the last.
    """

    def __init__(
        self,
        device: torch.device,
        slots: list[Slot],
        poll: Poll,
        partitions: tuple[int, ...],
        momentum_buffers: dict[int, dict[str, torch.Tensor]],
        *,
        momentum: float,
        zero: str,
        nan: str,
        min_size: int,
    ) -> None:
        self.casts: dict[int, Any] = {}
        self._device = device
        self._slots = slots
        self._poll = poll
        self._partitions = partitions
        self._momentum_buffers = momentum_buffers
        self._momentum, self._zero, self._nan, self._min_size = momentum, zero, nan, min_size
        self._total_words = sum(words_for(slot.parameter.numel()) for slot in slots)

    @torch.no_grad()
    def cast(self, partition: int, step: int) -> None:
        """Packs the gradients that the parameters hold, and clears them."""
        grads: list[torch.Tensor | None] = []
        for slot in self._slots:
            grad = slot.parameter.grad
            if grad is not None and grad.is_sparse:
                raise ValueError(SPARSE)
            counts = grad is not None and slot.parameter.numel() >= self._min_size
            grads.append(memory_order(grad, slot.parameter).to(self._device) if counts and grad is not None else None)
        self.casts[partition] = self._cast(grads, partition, step)
        for slot in self._slots:
            slot.parameter.grad = None

    def message(
        self,
        layout: Layout,
        values: torch.Tensor,
        step: int,
        rank: int,
        attacks: Mapping[int, Callable[..., PackedSigns]],
    ) -> torch.Tensor:
        """What this rank sends for a bucket, whose elements are in `values`: words, see `Poll`."""
        remaining = [p for p in self._partitions if p not in self.casts]
        if len(remaining) > 1:
            raise RuntimeError(
                f"majority_vote_hook: this rank holds partitions {self._partitions}, of which {remaining} are not cast "
                "yet; compute each in `with state.partition(partition):`"
            )
        message = torch.zeros(self._poll.message_words(layout), dtype=torch.int64, device=self._device)
        if not remaining or not layout.slots:  # an idle rank abstains
            return message
        self._fill(message, layout, values.to(self._device), step, rank, remaining[0])
        if rank in attacks:
            flags, words, mask = self._poll.planes(layout, message)
            lie = attacks[rank](PackedSigns(words.clone(), 64 * layout.num_words), worker=rank, step=step)
            words.copy_(torch.from_numpy(lie.numpy()[0].view(np.int64)))
            flags.fill_(-1)
            if mask is not None:
                mask.fill_(-1)
        return message

    def count(self, layout: Layout, inbox: torch.Tensor, values: torch.Tensor, step: int) -> PackedSigns:
        """The winner of everybody's messages ``(n, bytes)``, and its signs in `values`: 0 where nobody voted."""
        here = values if values.device == self._device else torch.empty_like(values, device=self._device)
        winner = self._count(layout, brought(inbox, self._device), here, step)
        if here is not values:
            values.copy_(here)
        return winner

    @abstractmethod
    def _cast(self, grads: list[torch.Tensor | None], partition: int, step: int) -> Any: ...

    @abstractmethod
    def _fill(
        self, message: torch.Tensor, layout: Layout, values: torch.Tensor, step: int, rank: int, partition: int
    ) -> None: ...

    @abstractmethod
    def _count(self, layout: Layout, messages: torch.Tensor, values: torch.Tensor, step: int) -> PackedSigns: ...

    def _jobs(self, slots: list[Slot], xs: Sequence[torch.Tensor], partition: int) -> list[tuple[int, int, int, int]]:
        """What the core packs: (dtype, gradient, momentum or 0, elements) of each."""
        jobs = [(dtype, x, 0, d) for dtype, x, d in tensors.addresses(xs, "majority_vote_hook")]
        if not self._momentum:
            return jobs
        buffers = [self._buffer(slot, x, partition).data_ptr() for slot, x in zip(slots, xs, strict=True)]
        return [(dtype, x, v, d) for (dtype, x, _, d), v in zip(jobs, buffers, strict=True)]

    def _buffer(self, slot: Slot, like: torch.Tensor, partition: int) -> torch.Tensor:
        buffers = self._momentum_buffers.setdefault(partition, {})
        buffer = buffers.get(slot.name)
        if buffer is None:
            buffers[slot.name] = buffer = torch.zeros_like(like)
        elif not buffer.is_contiguous() or buffer.numel() != like.numel():
            raise RuntimeError(
                f"majority_vote_hook: {slot.name!r} has {like.numel()} elements and its momentum {buffer.numel()}"
            )
        elif buffer.dtype != like.dtype or buffer.device != like.device:
            buffers[slot.name] = buffer = buffer.to(like)
        return buffer


class CpuBallots(Ballots):
    """Of parameters on the CPU. A cast: words and mask of the whole model."""

    def _cast(self, grads: list[torch.Tensor | None], partition: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        words = np.zeros(self._total_words, dtype=np.uint64)
        mask = np.zeros_like(words)
        for slot, grad in zip(self._slots, grads, strict=True):
            if grad is None or is_zero(as_floats(grad)):
                continue
            at = slice(slot.first, slot.end)
            mask[at] = ~np.uint64(0)
            self._pack([slot], [grad], (words[at], mask[at]), partition, step)
        return words, mask

    def _fill(
        self, message: torch.Tensor, layout: Layout, values: torch.Tensor, step: int, rank: int, partition: int
    ) -> None:
        flags, words, mask = self._poll.planes(layout, message.numpy().view(np.uint64))
        if mask is None:
            mask = np.zeros_like(words)  # for this rank alone
        floats, pieces = as_floats(values), layout.split(values)
        used = []
        for part, at in zip(layout.parts, layout.words, strict=True):
            used.append(not is_zero(floats[part]))
            if used[-1]:
                mask[at] = ~np.uint64(0)
        for run in layout.runs(used, one_by_one=self._zero == "random"):
            xs = [pieces[i] for i in run]
            at = slice(layout.words[run[0]].start, layout.words[run[-1]].stop)
            self._pack([layout.slots[i] for i in run], xs, (words[at], mask[at]), partition, step)
        if self.casts:
            self._vote_locally(layout, words, mask, used, step, rank)
        flags.view(np.uint8)[: -(-len(used) // 8)] = np.packbits(used, bitorder="little")

    def _vote_locally(
        self, layout: Layout, words: np.ndarray, mask: np.ndarray, used: list[bool], step: int, rank: int
    ) -> None:
        """The majority of the partitions that this rank holds, in place of the last one's votes."""
        d = 64 * words.size
        rows = [PackedSigns(words.copy(), d, mask.copy())]
        for cast_words, cast_mask in self.casts.values():
            at = np.concatenate([np.arange(slot.first, slot.end) for slot in layout.slots])
            rows.append(PackedSigns(cast_words[at], d, cast_mask[at]))
            for number, slot in enumerate(layout.slots):
                used[number] = used[number] or bool(cast_mask[slot.first : slot.end].any())
        winner = self._poll.majority(layout, rows, step, 1 + rank)
        words[:] = winner.words
        mask[:] = ~np.uint64(0) if winner.mask is None else winner.mask

    def _pack(
        self,
        slots: list[Slot],
        xs: Sequence[torch.Tensor],
        votes: tuple[np.ndarray, np.ndarray],
        partition: int,
        step: int,
    ) -> None:
        """Signs, and abstentions where the policies have them, of neighbouring tensors; momentum takes its step."""
        has_nan = core.cpu.pack_addresses(
            self._jobs(slots, xs, partition),
            self._momentum,
            1 - self._momentum,
            False,
            *(votes if "abstain" in (self._zero, self._nan) else (votes[0], None)),
            core.ZERO.index(self._zero),
            core.NAN.index(self._nan),
            self._poll.seed,
            step % 2**32,
            partition,
            slots[0].first,  # of the random stream: counts where it is one slot
            None,
        )
        if has_nan and self._nan == "raise":
            names = ", ".join(slot.name for slot in slots)
            raise ValueError(
                f"majority_vote_hook: NaN in the gradient (or momentum) of one of {names}; choose nan='minus' or "
                "nan='abstain' to vote without it, or go back to a checkpoint"
            )

    def _count(self, layout: Layout, messages: torch.Tensor, values: torch.Tensor, step: int) -> PackedSigns:
        flags, words, mask = self._poll.planes(layout, messages.numpy().view(np.uint64))
        abstentions = [
            (rank, number)
            for rank in np.flatnonzero((flags & layout.all_flags != layout.all_flags).any(axis=1)).tolist()
            for number in range(len(layout.slots))
            if not int(flags[rank, number // 64]) >> number % 64 & 1
        ]
        if abstentions and mask is None:
            mask = np.full_like(words, ~np.uint64(0))
        if mask is not None:
            for rank, number in abstentions:
                mask[rank, layout.words[number]] = 0
            words &= mask
        winner = self._poll.majority(layout, PackedSigns(words, 64 * layout.num_words, mask), step, 0)
        absent = Counter(number for _, number in abstentions)
        floats = as_floats(values)
        for number, (part, at) in enumerate(zip(layout.parts, layout.words, strict=True)):
            if absent[number] == self._poll.num_ranks:
                floats[part] = 0
            else:
                voted = None if winner.mask is None else winner.mask[at]
                core.cpu.unpack(winner.words[at], voted, floats[part])
        return winner
