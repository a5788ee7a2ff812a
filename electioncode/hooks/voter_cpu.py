"""Vote on buckets of parameters on the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from electioncode import core
from electioncode.hooks.layout import Layout, ParameterSlot
from electioncode.hooks.voter import WHO, BucketVoter
from electioncode.votes import PackedSigns

_ALL = ~np.uint64(0)


class CpuBucketVoter(BucketVoter):
    """A cast is the words and the mask of the whole model."""

    def _cast(self, grads: list[torch.Tensor | None], partition: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        words = np.zeros(self.slots[-1].end, dtype=np.uint64)
        mask = np.zeros_like(words)
        for slot, grad in zip(self.slots, grads, strict=True):
            if grad is None or _is_zero(_as_floats(grad)):
                continue
            at = slice(slot.first, slot.end)
            mask[at] = _ALL
            self._pack_used([slot], [grad], words[at], mask[at], partition, step)
        return words, mask

    def _fill(self, message: torch.Tensor, layout: Layout, values: torch.Tensor, step: int, partition: int) -> None:
        flags, words, mask = self.vote.planes(layout, message.numpy().view(np.uint64))
        if mask is None:
            mask = np.zeros_like(words)  # for this rank alone
        floats, pieces = _as_floats(values), layout.split(values)
        used = []
        for part, at in zip(layout.parts, layout.words, strict=True):
            used.append(not _is_zero(floats[part]))
            if used[-1]:
                mask[at] = _ALL
        for run in layout.runs(used, one_by_one=self.vote.policies.zero == "random"):
            at = slice(layout.words[run[0]].start, layout.words[run[-1]].stop)
            slots, xs = [layout.slots[i] for i in run], [pieces[i] for i in run]
            self._pack_used(slots, xs, words[at], mask[at], partition, step)
        if self.casts:
            self._vote_locally(layout, words, mask, used, step)
        flags.view(np.uint8)[: -(-len(used) // 8)] = np.packbits(used, bitorder="little")

    def _vote_locally(self, layout: Layout, words: np.ndarray, mask: np.ndarray, used: list[bool], step: int) -> None:
        """Put the majority of the partitions that this rank holds in place of the last one's votes."""
        d = 64 * words.size
        rows = [PackedSigns(words.copy(), d, mask.copy())]
        for cast_words, cast_mask in self.casts.values():
            at = np.concatenate([np.arange(slot.first, slot.end) for slot in layout.slots])
            rows.append(PackedSigns(cast_words[at], d, cast_mask[at]))
            for number, slot in enumerate(layout.slots):
                used[number] = used[number] or bool(cast_mask[slot.first : slot.end].any())
        winner = self.vote.majority(layout, rows, step, 1 + self.rank)
        words[:] = winner.words
        mask[:] = _ALL if winner.mask is None else winner.mask

    def _pack_used(
        self,
        slots: Sequence[ParameterSlot],
        xs: Sequence[torch.Tensor],
        words: np.ndarray,
        mask: np.ndarray,
        partition: int,
        step: int,
    ) -> None:
        planes = words, mask if self.vote.policies.casts_abstain else None
        if self._pack(slots, xs, planes, partition, step) and self.vote.policies.nan == "raise":
            names = ", ".join(slot.name for slot in slots)
            raise ValueError(
                f"{WHO}: NaN in the gradient (or momentum) of one of {names}; choose nan='minus' or "
                "nan='abstain' to vote without it, or go back to a checkpoint"
            )

    def _count(self, layout: Layout, messages: torch.Tensor, values: torch.Tensor, step: int) -> PackedSigns:
        flags, words, mask = self.vote.planes(layout, messages.numpy().view(np.uint64))
        abstentions = [
            (rank, number)
            for rank in np.flatnonzero((flags & layout.all_flags != layout.all_flags).any(axis=1)).tolist()
            for number in range(len(layout.slots))
            if not int(flags[rank, number // 64]) >> number % 64 & 1
        ]
        if abstentions and mask is None:
            mask = np.full_like(words, _ALL)
        if mask is not None:
            for rank, number in abstentions:
                mask[rank, layout.words[number]] = 0
            words &= mask
        winner = self.vote.majority(layout, PackedSigns(words, 64 * layout.num_words, mask), step, 0)
        absent = Counter(number for _, number in abstentions)
        floats = _as_floats(values)
        for number, (part, at) in enumerate(zip(layout.parts, layout.words, strict=True)):
            if absent[number] == self.vote.num_ranks:
                floats[part] = 0
            else:
                voted = None if winner.mask is None else winner.mask[at]
                core.cpu.unpack(winner.words[at], voted, floats[part])
        return winner


def _as_floats(t: torch.Tensor) -> np.ndarray:
    """Return a flat CPU tensor as the core takes it; it shares the tensor's memory."""
    backend: Any = core.backend_of(t, WHO, "gradients")
    return backend.floats(t, WHO)


def _is_zero(x: np.ndarray) -> bool:
    """Tell whether all elements are zero, of either sign. Nearly always the first few tell."""
    if x.dtype == np.uint16:  # bfloat16
        return not (x[:64] & 0x7FFF).any() and not (x & 0x7FFF).any()
    if x.size and x[0]:
        return False
    return not x[:64].any() and not x.any()
