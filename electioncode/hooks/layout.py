"""How the parameters of a DDP bucket lie in a message: each from a word boundary, in the bucket's order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist

from electioncode import core
from electioncode.core import full_mask, words_for
from electioncode.votes import PackedSigns, majority


@dataclass(frozen=True)
class Slot:
    """A parameter of the model."""

    index: int
    name: str
    parameter: torch.Tensor
    first: int  # its first word, all parameters of the model one after the other

    @property
    def end(self) -> int:
        return self.first + words_for(self.parameter.numel())


class Places(NamedTuple):
    """Of each word of a bucket the number of its parameter; of each parameter its number in the model, and its flag."""

    number: torch.Tensor
    parameter: torch.Tensor
    flag_word: torch.Tensor
    flag_bit: torch.Tensor


class Layout:
    """One bucket: of each voted parameter its elements and words, and the elements of what stays dense."""

    def __init__(self, slots: Sequence[Slot], min_size: int) -> None:
        self.slots: list[Slot] = []
        self.parts: list[slice] = []
        self.words: list[slice] = []
        self.dense: list[slice] = []
        self._sizes = [slot.parameter.numel() for slot in slots]
        self._voted: list[int] = []
        element = word = 0
        for number, (slot, size) in enumerate(zip(slots, self._sizes, strict=True)):
            part = slice(element, element + size)
            element += size
            if size < min_size:
                self.dense.append(part)
                continue
            self._voted.append(number)
            self.slots.append(slot)
            self.parts.append(part)
            self.words.append(slice(word, word + words_for(size)))
            word += words_for(size)
        self.num_words = word
        self.dense_sizes = [part.stop - part.start for part in self.dense]
        self.all_flags = full_mask(len(self.slots))  # one bit a parameter
        self.num_flags = self.all_flags.size
        self._places: dict[torch.device, Places] = {}

    def split(self, values: torch.Tensor) -> list[torch.Tensor]:
        """The elements of each voted parameter: views."""
        pieces = values.split(self._sizes)
        return [pieces[number] for number in self._voted]

    def on(self, device: torch.device) -> Places:
        """Where things lie, as tensors on a device."""
        places = self._places.get(device)
        if places is None:
            sizes = torch.tensor([at.stop - at.start for at in self.words])
            numbers = torch.arange(len(self.slots))
            places = self._places[device] = Places(
                number=numbers.repeat_interleave(sizes).to(device),
                parameter=torch.tensor([slot.index for slot in self.slots], device=device),
                flag_word=(numbers // 64).to(device),
                flag_bit=(numbers % 64).to(device),
            )
        return places

    def runs(self, used: Sequence[bool], one_by_one: bool) -> Iterator[list[int]]:
        """Neighbouring parameters that are used: each run is one native call."""
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
        """Of the votes on coordinates, without the bits between parameters."""
        valid = np.concatenate([full_mask(slot.parameter.numel()) for slot in self.slots])
        words, mask = votes.numpy()
        planes = [words & valid] if mask is None else [words & valid, mask & valid]
        return int(core.checksum(np.concatenate(planes)))


@dataclass(frozen=True)
class Poll:
    """How n ranks vote on a bucket. A message: which parameters its rank votes on, one bit each; votes; their mask.

    The mask is there only if `masked`, where policies let some coordinates of a parameter abstain. Any bytes of the
    right number are votes, so there is nothing in a message that could be malformed.
    """

    num_ranks: int
    tie: str
    seed: int
    masked: bool

    def message_words(self, layout: Layout) -> int:
        return layout.num_flags + layout.num_words * (2 if self.masked else 1)

    def planes(self, layout: Layout, messages: Any) -> tuple[Any, Any, Any]:
        """Flags, words and mask (or None) of one message, or of one a row: views."""
        first, end = layout.num_flags, layout.num_flags + layout.num_words
        return messages[..., :first], messages[..., first:end], messages[..., end:] if self.masked else None

    def majority(self, layout: Layout, rows: Any, step: int, stream: int) -> PackedSigns:
        """Of whole rows; where ties are random, of each parameter, whose bits shall not depend on its bucket."""
        step %= 2**32
        if self.tie != "random":
            return majority(rows, self.tie, seed=self.seed, step=step)
        winner = rows[0].backend.empty((layout.num_words,))
        for slot, at in zip(layout.slots, layout.words, strict=True):
            d = 64 * (at.stop - at.start)
            cut = [PackedSigns(r.words[at], d, None if r.mask is None else r.mask[at]) for r in rows]
            own = stream + slot.index * (self.num_ranks + 1)
            winner[at] = majority(cut, "random", seed=self.seed, step=step, stream=own).words
        return PackedSigns(winner, 64 * layout.num_words)


def exchange(message: torch.Tensor, group: Any, one_for_each: bool = False) -> tuple[torch.Tensor, Any]:
    """Everybody's messages ``(n, bytes)`` uint8, straight from each: an all-gather may pass them through other hands.

    A message is ``(words,)`` int64; with one_for_each it is ``(n, words)``, a row for each rank. Returns them with the
    work to wait for; they lie on the CPU where `message` does, or where the group can take it from no other place.
    """
    n, device = dist.get_world_size(group), wire(group, message.device)
    own = message if device == message.device else _host(message).to(device)
    outgoing = [m.view(torch.uint8) for m in (own.unbind() if one_for_each else [own] * n)]
    inbox = torch.empty((n, outgoing[0].numel()), dtype=torch.uint8, device=device)
    return inbox, dist.all_to_all(list(inbox.unbind()), outgoing, group=group, async_op=True)


def wire(group: Any, device: torch.device) -> torch.device:
    """Where a group takes messages that lie on a device: right there, if it can."""
    backends = dist.get_backend_config(group)
    if "gloo" in backends and (device.type == "cpu" or "nccl" not in backends):
        return torch.device("cpu")
    return device if device.type == "cuda" else torch.device("cuda", torch.cuda.current_device())


def brought(inbox: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Messages ``(n, bytes)`` as words ``(n, words)`` on the device of their votes."""
    words = inbox.view(torch.int64)
    if words.device == device:
        return words
    if device.type == "cpu":
        return words.cpu()
    backend: Any = core.backend_on(device)
    return backend.adopt(words.numpy().view(np.uint64))


def _host(message: torch.Tensor) -> torch.Tensor:
    backend: Any = core.backend_of(message, "majority_vote_hook")
    return torch.from_numpy(backend.host(message).view(np.int64))


def memory_order(t: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The elements of a gradient, flat, as they lie in a bucket: in the memory order of its parameter."""
    dense = torch.empty_like(like, memory_format=torch.preserve_format, device="meta").stride()
    if dense != like.stride():  # then buckets hold it contiguous
        return t.detach().contiguous().view(-1)
    if t.stride() != dense:
        t = torch.empty_like(like, dtype=t.dtype).copy_(t)
    return t.detach().as_strided((t.numel(),), (1,))


def as_floats(t: torch.Tensor) -> np.ndarray:
    """A flat CPU tensor as the core takes it; shares its memory."""
    backend: Any = core.backend_of(t, "majority_vote_hook", "gradients")
    return backend.floats(t, "majority_vote_hook")


def is_zero(x: np.ndarray) -> bool:
    """All elements are zero, of either sign. Nearly always the first few tell."""
    if x.dtype == np.uint16:  # bfloat16
        return not (x[:64] & 0x7FFF).any() and not (x & 0x7FFF).any()
    if x.size and x[0]:
        return False
    return not x[:64].any() and not x.any()
