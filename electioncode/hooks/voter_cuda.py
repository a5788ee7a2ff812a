"""Vote on buckets of parameters on a CUDA device: everything is queued on the current stream, and nothing waits.

Which parameters a rank used is known to the device alone, so it is a tensor of flags wherever the CPU has an `if`.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple

import torch

from electioncode import core
from electioncode.hooks.layout import Layout, ParameterSlot
from electioncode.hooks.voter import WHO, BucketVoter
from electioncode.votes import PackedSigns, pack


class Cast(NamedTuple):
    """What one partition voted on the whole model."""

    words: torch.Tensor
    mask: torch.Tensor
    used: torch.Tensor  # one bool per parameter


class CudaBucketVoter(BucketVoter):
    """A cast is a `Cast`."""

    def _cast(self, grads: list[torch.Tensor | None], partition: int, step: int) -> Cast:
        words = torch.zeros(self.slots[-1].end, dtype=torch.int64, device=self.device)
        mask = torch.zeros_like(words)
        used = torch.zeros(len(self.slots), dtype=torch.bool, device=self.device)
        pairs = zip(self.slots, grads, strict=True)
        for dtype, group in groupby(pairs, key=lambda pair: None if pair[1] is None else pair[1].dtype):
            if dtype is None:  # nobody knows of a gradient
                continue
            run = list(group)
            slots, xs = [slot for slot, _ in run], [grad for _, grad in run if grad is not None]
            at, flags = slice(slots[0].first, slots[-1].end), slice(slots[0].index, slots[-1].index + 1)
            used[flags] = _not_zero(xs)
            self._pack_all(slots, xs, words[at], mask[at], used[flags], partition, step)
        return Cast(words, mask, used)

    def _fill(self, message: torch.Tensor, layout: Layout, values: torch.Tensor, step: int, partition: int) -> None:
        flags, words, mask = self.vote.planes(layout, message)
        if mask is None and self.casts:
            mask = torch.empty_like(words)  # for this rank alone
        xs = layout.split(values)
        used = _not_zero(xs)
        self._pack_all(layout.slots, xs, words, mask, used, partition, step)
        if self.casts:
            used = self._vote_locally(layout, words, mask, used, step)
        flags.copy_(pack(torch.where(used, 1.0, -1.0)).words)

    def _vote_locally(
        self, layout: Layout, words: torch.Tensor, mask: Any, used: torch.Tensor, step: int
    ) -> torch.Tensor:
        """Put the majority of this rank's partitions in place of the last one's votes; return what they used."""
        d = 64 * layout.num_words
        rows = [PackedSigns(words.clone(), d, mask.clone())]
        numbers = layout.on(self.device).parameter
        for cast in self.casts.values():
            planes = [torch.cat([plane[slot.first : slot.end] for slot in layout.slots]) for plane in cast[:2]]
            rows.append(PackedSigns(planes[0], d, planes[1]))
            used = used | cast.used[numbers]
        winner = self.vote.majority(layout, rows, step, 1 + self.rank)
        words.copy_(winner.words)
        if winner.mask is None:
            mask.fill_(-1)
        else:
            mask.copy_(winner.mask)
        return used

    def _pack_all(
        self,
        slots: list[ParameterSlot],
        xs: list[torch.Tensor],
        words: torch.Tensor,
        mask: torch.Tensor | None,
        used: torch.Tensor,
        partition: int,
        step: int,
    ) -> None:
        """Pack neighbouring tensors, one by one where zeros draw random bits."""
        if self.vote.policies.zero != "random":
            self._pack(slots, xs, (words, mask), partition, step, used)
            return
        first = 0
        for number, slot in enumerate(slots):
            at = slice(first, first := first + slot.end - slot.first)
            planes = words[at], None if mask is None else mask[at]
            self._pack([slot], [xs[number]], planes, partition, step, used[number : number + 1])

    def _count(self, layout: Layout, messages: torch.Tensor, values: torch.Tensor, step: int) -> PackedSigns:
        flags, words, mask = self.vote.planes(layout, messages)
        on = layout.on(self.device)
        voters = -((flags[:, on.flag_word] >> on.flag_bit) & 1)  # (n, parameters): all bits, or none
        voted = voters[:, on.number]
        mask = voted if mask is None else mask & voted
        kernels: Any = core.backend_of(words, WHO).core
        with kernels.silent():  # a NaN raises in the next message: a future's callback would make another error of it
            winner = self.vote.majority(layout, PackedSigns(words & mask, 64 * layout.num_words, mask), step, 0)
        shown = voters.amin(dim=0)[on.number]  # 0 where nobody voted
        if winner.mask is not None:
            shown &= winner.mask
        with kernels.silent():
            kernels.unpack_tensors(layout.split(values), winner.words, shown)
        return winner


def _not_zero(xs: list[torch.Tensor]) -> torch.Tensor:
    """Tell which of some tensors of one dtype have an element that is not zero, as NaN is not."""
    xs = [x if x.numel() else x.new_zeros(1) for x in xs]
    return torch.stack(torch._foreach_norm(xs, float("inf"))) != 0
