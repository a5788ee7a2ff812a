"""Lay the parameters of a bucket out in a message: each from a word boundary, in the bucket's order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import torch

from electioncode import core
from electioncode.core import full_mask, words_for
from electioncode.votes import PackedSigns


@dataclass(frozen=True)
class ParameterSlot:
    """A parameter of the model, and where its votes begin."""

    index: int
    name: str
    parameter: torch.Tensor
    first: int  # its first word, all parameters of the model one after the other

    @property
    def end(self) -> int:
        return self.first + words_for(self.parameter.numel())


class WordIndex(NamedTuple):
    """Maps each word of a bucket to its parameter, and each parameter to its index in the model and its flag bit."""

    number: torch.Tensor
    parameter: torch.Tensor
    flag_word: torch.Tensor
    flag_bit: torch.Tensor


class Layout:
    """One bucket: the elements and words of each voted parameter, and the elements of what stays dense."""

    def __init__(self, slots: Sequence[ParameterSlot], min_size: int) -> None:
        self._sizes = [slot.parameter.numel() for slot in slots]
        self._voted = [number for number, size in enumerate(self._sizes) if size >= min_size]
        parts = _one_after_the_other(self._sizes)
        self.slots = [slots[number] for number in self._voted]
        self.parts = [parts[number] for number in self._voted]
        self.words = _one_after_the_other([words_for(self._sizes[number]) for number in self._voted])
        self.dense = [part for part, size in zip(parts, self._sizes, strict=True) if size < min_size]
        self.num_words = self.words[-1].stop if self.words else 0
        self.dense_sizes = [part.stop - part.start for part in self.dense]
        self.all_flags = full_mask(len(self.slots))  # one bit per parameter
        self.num_flags = self.all_flags.size
        self._indices: dict[torch.device, WordIndex] = {}

    def split(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Return the elements of each voted parameter: views."""
        pieces = values.split(self._sizes)
        return [pieces[number] for number in self._voted]

    def on(self, device: torch.device) -> WordIndex:
        """Return the index of words, as tensors on a device."""
        index = self._indices.get(device)
        if index is None:
            sizes = torch.tensor([at.stop - at.start for at in self.words])
            numbers = torch.arange(len(self.slots))
            index = self._indices[device] = WordIndex(
                number=numbers.repeat_interleave(sizes).to(device),
                parameter=torch.tensor([slot.index for slot in self.slots], device=device),
                flag_word=(numbers // 64).to(device),
                flag_bit=(numbers % 64).to(device),
            )
        return index

    def runs(self, used: Sequence[bool], one_by_one: bool) -> Iterator[list[int]]:
        """Yield neighbouring parameters that are used: each run is one native call."""
        run: list[int] = []
        for number, is_used in enumerate(used):
            if run and (one_by_one or not is_used):
                yield run
                run = []
            if is_used:
                run.append(number)
        if run:
            yield run

    def checksum(self, votes: PackedSigns) -> int:
        """Return the checksum of the votes on coordinates, without the bits between parameters."""
        valid = np.concatenate([full_mask(slot.parameter.numel()) for slot in self.slots])
        words, mask = votes.numpy()
        planes = [words & valid] if mask is None else [words & valid, mask & valid]
        return int(core.checksum(np.concatenate(planes)))


def _one_after_the_other(sizes: Sequence[int]) -> list[slice]:
    ends = [0, *accumulate(sizes)]
    return [slice(first, end) for first, end in pairwise(ends)]


def memory_order(t: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return the elements of a gradient, flat, as they lie in a bucket: in the memory order of its parameter."""
    dense = torch.empty_like(like, memory_format=torch.preserve_format, device="meta").stride()
    if dense != like.stride():  # then buckets hold it contiguous
        return t.detach().contiguous().view(-1)
    if t.stride() != dense:
        t = torch.empty_like(like, dtype=t.dtype).copy_(t)
    return t.detach().as_strided((t.numel(),), (1,))
