"""The votes of `_bucket_votes` on a CUDA device: all of it is queued on the current stream, and nothing waits.

Which parameters a rank used is known to the device alone, so it is a tensor of flags wherever the CPU has an `if`.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple

import torch

from electioncode import core
from electioncode.hooks.layout import Layout, Slot
from electioncode.hooks.voter import Ballots
from electioncode.votes import PackedSigns, pack


class Cast(NamedTuple):
    """What one partition voted on the whole model."""

    words: torch.Tensor
    mask: torch.Tensor
    used: torch.Tensor  # one bool a parameter


class CudaBallots(Ballots):
    """Of parameters on a CUDA device."""

    def _cast(self, grads: list[torch.Tensor | None], partition: int, step: int) -> Cast:
        words = torch.zeros(self._total_words, dtype=torch.int64, device=self._device)
        mask = torch.zeros_like(words)
        used = torch.zeros(len(self._slots), dtype=torch.bool, device=self._device)
        pairs = zip(self._slots, grads, strict=True)
        for dtype, group in groupby(pairs, key=lambda pair: None if pair[1] is None else pair[1].dtype):
            if dtype is None:  # nobody knows of a gradient
                continue
            run = list(group)
            slots, xs = [slot for slot, _ in run], [grad for _, grad in run if grad is not None]
            at, flags = slice(slots[0].first, slots[-1].end), slice(slots[0].index, slots[-1].index + 1)
            used[flags] = _not_zero(xs)
            self._pack(slots, xs, words[at], mask[at], used[flags], partition, step)
        return Cast(words, mask, used)

    def _fill(
        self, message: torch.Tensor, layout: Layout, values: torch.Tensor, step: int, rank: int, partition: int
    ) -> None:
        flags, words, mask = self._poll.planes(layout, message)
        if mask is None and self.casts:
            mask = torch.empty_like(words)  # for this rank alone
        xs = layout.split(values)
        used = _not_zero(xs)
        self._pack(layout.slots, xs, words, mask, used, partition, step)
        if self.casts:
            used = self._vote_locally(layout, words, mask, used, step, rank)
        flags.copy_(pack(torch.where(used, 1.0, -1.0)).words)

    def _vote_locally(
        self, layout: Layout, words: torch.Tensor, mask: Any, used: torch.Tensor, step: int, rank: int
    ) -> torch.Tensor:
        """The majority of the partitions that this rank holds, in place of the last one's votes; what it used."""
        d = 64 * layout.num_words
        rows = [PackedSigns(words.clone(), d, mask.clone())]
        numbers = layout.on(self._device).parameter
        for cast in self.casts.values():
            planes = [torch.cat([plane[slot.first : slot.end] for slot in layout.slots]) for plane in cast[:2]]
            rows.append(PackedSigns(planes[0], d, planes[1]))
            used = used | cast.used[numbers]
        winner = self._poll.majority(layout, rows, step, 1 + rank)
        words.copy_(winner.words)
        if winner.mask is None:
            mask.fill_(-1)
        else:
            mask.copy_(winner.mask)
        return used

    def _pack(
        self,
        slots: list[Slot],
        xs: list[torch.Tensor],
        words: torch.Tensor,
        mask: torch.Tensor | None,
        used: torch.Tensor,
        partition: int,
        step: int,
    ) -> None:
        """Signs and abstentions of neighbouring tensors; the momentum of those that are used takes its step."""
        jobs = self._jobs(slots, xs, partition)
        whole = slice(0, len(slots))
        runs = [slice(i, i + 1) for i in range(len(slots))] if self._zero == "random" else [whole]
        ops: Any = core.backend_of(words, "majority_vote_hook").core
        for run in runs:
            first = slots[run.start].first
            at = slice(0, None) if run is whole else _words_of(slots, run.start)
            ops.pack_addresses(
                jobs[run],
                self._momentum,
                1 - self._momentum,
                False,
                words[at],
                None if mask is None else mask[at],
                core.ZERO.index(self._zero),
                core.NAN.index(self._nan),
                self._poll.seed,
                step % 2**32,
                partition,
                first,
                None,
                used[run],
            )

    def _count(self, layout: Layout, messages: torch.Tensor, values: torch.Tensor, step: int) -> PackedSigns:
        flags, words, mask = self._poll.planes(layout, messages)
        on = layout.on(self._device)
        voters = -((flags[:, on.flag_word] >> on.flag_bit) & 1)  # (n, parameters): all bits, or none
        voted = voters[:, on.number]
        mask = voted if mask is None else mask & voted
        ops: Any = core.backend_of(words, "majority_vote_hook").core
        with ops.silent():  # a NaN raises in the next message: a future's callback would make another error of it
            winner = self._poll.majority(layout, PackedSigns(words & mask, 64 * layout.num_words, mask), step, 0)
        shown = voters.amin(dim=0)[on.number]  # 0 where nobody voted
        if winner.mask is not None:
            shown &= winner.mask
        with ops.silent():
            ops.unpack_tensors(layout.split(values), winner.words, shown)
        return winner


def _not_zero(xs: list[torch.Tensor]) -> torch.Tensor:
    """Which of some tensors of one dtype have an element that is not zero, as NaN is not."""
    xs = [x if x.numel() else x.new_zeros(1) for x in xs]
    return torch.stack(torch._foreach_norm(xs, float("inf"))) != 0


def _words_of(slots: list[Slot], number: int) -> slice:
    """The words of one of neighbouring parameters in a bucket."""
    first = sum(slot.end - slot.first for slot in slots[:number])
    return slice(first, first + slots[number].end - slots[number].first)
