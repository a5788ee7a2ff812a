"""What one rank votes on the buckets of a DDP model: momentum, signs, and the majority of the partitions it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from electioncode._buckets import Layout, Poll, Slot, as_floats, is_zero, memory_order, pack_slots
from electioncode.signs import PackedSigns, words_for

SPARSE = (
    "majority_vote_hook: gradients must be dense, got a sparse one; use Embedding(sparse=False), and zero='abstain' so "
    "that rows without a gradient do not vote"
)


class Ballots:
    """The voter at one rank.

    `momentum_buffers` is partition -> parameter name -> momentum, and belongs to the caller. `casts` is partition ->
    words and mask of the whole model, for partitions of the step that came before the last.
    """

    def __init__(
        self,
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
        self.casts: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._slots = slots
        self._poll = poll
        self._partitions = partitions
        self._momentum_buffers = momentum_buffers
        self._momentum, self._zero, self._nan, self._min_size = momentum, zero, nan, min_size

    @torch.no_grad()
    def cast(self, partition: int, step: int) -> None:
        """Packs the gradients that the parameters hold, and clears them."""
        words = np.zeros(sum(words_for(s.parameter.numel()) for s in self._slots), dtype=np.uint64)
        mask = np.zeros_like(words)
        for slot in self._slots:
            grad = slot.parameter.grad
            if grad is None or slot.parameter.numel() < self._min_size:
                continue
            if grad.is_sparse:
                raise ValueError(SPARSE)
            x = as_floats(memory_order(grad, slot.parameter).cpu())
            if is_zero(x):
                continue
            at = slice(slot.first, slot.first + words_for(x.size))
            mask[at] = ~np.uint64(0)
            self._pack([slot], [x], grad.dtype, (words[at], mask[at]), partition, step)
        self.casts[partition] = words, mask
        for slot in self._slots:
            slot.parameter.grad = None

    def message(
        self,
        layout: Layout,
        host: torch.Tensor,
        step: int,
        rank: int,
        attacks: Mapping[int, Callable[..., PackedSigns]],
    ) -> np.ndarray:
        """What this rank sends for a bucket, whose elements are in `host`: see `Poll`."""
        remaining = [p for p in self._partitions if p not in self.casts]
        if len(remaining) > 1:
            raise RuntimeError(
                f"majority_vote_hook: this rank holds partitions {self._partitions}, of which {remaining} are not cast "
                "yet; compute each in `with state.partition(partition):`"
            )
        message = np.zeros(self._poll.message_words(layout), dtype=np.uint64)
        flags, words, mask = self._poll.planes(layout, message)
        if not remaining:  # an idle rank abstains
            return message
        if mask is None:
            mask = np.zeros_like(words)  # for this rank alone
        used = []
        for part, at in zip(layout.parts, layout.words, strict=True):
            used.append(not is_zero(as_floats(host[part])))
            if used[-1]:
                mask[at] = ~np.uint64(0)
        for run in layout.runs(used, one_by_one=self._zero == "random"):
            xs = [as_floats(host[layout.parts[i]]) for i in run]
            at = slice(layout.words[run[0]].start, layout.words[run[-1]].stop)
            self._pack([layout.slots[i] for i in run], xs, host.dtype, (words[at], mask[at]), remaining[0], step)
        if self.casts:
            self._vote_locally(layout, words, mask, used, step, rank)
        for number, voted in enumerate(used):
            flags[number // 64] |= np.uint64(int(voted) << number % 64)
        if rank in attacks:
            lie = attacks[rank](PackedSigns(words.copy(), 64 * words.size), worker=rank, step=step)
            words[:] = lie.numpy()[0]
            flags[:] = mask[:] = ~np.uint64(0)
        return message

    def _vote_locally(
        self, layout: Layout, words: np.ndarray, mask: np.ndarray, used: list[bool], step: int, rank: int
    ) -> None:
        """The majority of the partitions that this rank holds, in place of the last one's votes."""
        d = 64 * words.size
        rows = [PackedSigns(words.copy(), d, mask.copy())]
        for cast_words, cast_mask in self.casts.values():
            at = np.concatenate([np.arange(s.first, s.first + words_for(s.parameter.numel())) for s in layout.slots])
            rows.append(PackedSigns(cast_words[at], d, cast_mask[at]))
            for number, slot in enumerate(layout.slots):
                used[number] = used[number] or bool(cast_mask[slot.first : slot.end].any())
        winner = self._poll.majority(layout, rows, step, 1 + rank)
        words[:] = winner.words
        mask[:] = ~np.uint64(0) if winner.mask is None else winner.mask

    def _pack(
        self,
        slots: list[Slot],
        xs: list[np.ndarray],
        dtype: torch.dtype,
        votes: tuple[np.ndarray, np.ndarray],
        partition: int,
        step: int,
    ) -> None:
        """Signs, and abstentions where the policies have them, of neighbouring tensors; momentum takes its step."""
        buffers = [self._buffer(slot, x.size, dtype, partition) for slot, x in zip(slots, xs, strict=True)]
        stream = (self._poll.seed, step % 2**32, partition)
        planes: Any = votes if "abstain" in (self._zero, self._nan) else (votes[0], None)
        has_nan = pack_slots(slots, xs, buffers, self._momentum, planes, self._zero, self._nan, stream)
        if has_nan and self._nan == "raise":
            names = ", ".join(slot.name for slot in slots)
            raise ValueError(
                f"majority_vote_hook: NaN in the gradient (or momentum) of one of {names}; choose nan='minus' or "
                "nan='abstain' to vote without it, or go back to a checkpoint"
            )

    def _buffer(self, slot: Slot, size: int, dtype: torch.dtype, partition: int) -> np.ndarray | None:
        if self._momentum == 0:
            return None
        buffers = self._momentum_buffers.setdefault(partition, {})
        buffer = buffers.get(slot.name)
        if buffer is None or buffer.dtype != dtype:
            buffer = torch.zeros(size, dtype=dtype) if buffer is None else buffer.to(dtype)
            buffers[slot.name] = buffer
        return as_floats(buffer)
