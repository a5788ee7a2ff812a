"""How the parameters of a DDP bucket lie in a message: each from a word boundary, in the bucket's order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from electioncode import _backend
from electioncode.signs import PackedSigns, _full_mask, words_for
from electioncode.voting import majority


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


class Layout:
    """One bucket: of each voted parameter its elements and words, and the elements of what stays dense."""

    def __init__(self, slots: Sequence[Slot], min_size: int) -> None:
        self.slots: list[Slot] = []
        self.parts: list[slice] = []
        self.words: list[slice] = []
        self.dense: list[slice] = []
        element = word = 0
        for slot in slots:
            size = slot.parameter.numel()
            part = slice(element, element + size)
            element += size
            if size < min_size:
                self.dense.append(part)
                continue
            self.slots.append(slot)
            self.parts.append(part)
            self.words.append(slice(word, word + words_for(size)))
            word += words_for(size)
        self.num_words = word
        self.dense_sizes = [part.stop - part.start for part in self.dense]
        self.all_flags = _full_mask(len(self.slots))  # one bit a parameter
        self.num_flags = self.all_flags.size

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
        valid = np.concatenate([_full_mask(slot.parameter.numel()) for slot in self.slots])
        words, mask = votes.numpy()
        planes = [words & valid] if mask is None else [words & valid, mask & valid]
        return int(_backend.checksum(np.concatenate(planes)))


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

    def planes(self, layout: Layout, messages: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Flags, words and mask of one message, or of one a row: views."""
        first, end = layout.num_flags, layout.num_flags + layout.num_words
        return messages[..., :first], messages[..., first:end], messages[..., end:] if self.masked else None

    def majority(self, layout: Layout, rows: Any, step: int, stream: int) -> PackedSigns:
        """Of whole rows; where ties are random, of each parameter, whose bits shall not depend on its bucket."""
        step %= 2**32
        if self.tie != "random":
            return majority(rows, self.tie, seed=self.seed, step=step)
        winner = np.empty(layout.num_words, dtype=np.uint64)
        for slot, at in zip(layout.slots, layout.words, strict=True):
            d = 64 * (at.stop - at.start)
            cut = [PackedSigns(r.words[at], d, None if r.mask is None else r.mask[at]) for r in rows]
            own = stream + slot.index * (self.num_ranks + 1)
            winner[at] = majority(cut, "random", seed=self.seed, step=step, stream=own).words
        return PackedSigns(winner, 64 * winner.size)

    def count(self, layout: Layout, messages: np.ndarray, step: int) -> tuple[PackedSigns, set[int]]:
        """The winner of the messages ``(n, words)``, which are changed, and the parameters on which nobody voted."""
        flags, words, mask = self.planes(layout, messages)
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
        winner = self.majority(layout, PackedSigns(words, 64 * layout.num_words, mask), step, 0)
        voters = Counter(number for _, number in abstentions)
        return winner, {number for number, absent in voters.items() if absent == self.num_ranks}


def exchange(
    message: np.ndarray, group: Any, one_for_each: bool = False
) -> tuple[torch.Tensor, Any]:
    """Everybody's messages ``(n, bytes)``, straight from each (an all-gather may pass them through other ranks' hands).

    With one_for_each the message ``(n, words)`` has a row for each rank. Returns them with the work to wait for.
    """
    device = wire(group)
    own = torch.from_numpy(message.view(np.uint8)).to(device)
    n = dist.get_world_size(group)
    outgoing = list(own.unbind()) if one_for_each else [own] * n
    inbox = torch.empty((n, outgoing[0].numel()), dtype=torch.uint8, device=device)
    return inbox, dist.all_to_all(list(inbox.unbind()), outgoing, group=group, async_op=True)


def wire(group: Any) -> torch.device:
    """Where messages lie: on the CPU wherever Gloo can fetch them there."""
    if "gloo" in dist.get_backend_config(group):
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


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
    backend: Any = _backend.backend_of(t, "majority_vote_hook", "gradients")
    return backend.floats(t, "majority_vote_hook")


def is_zero(x: np.ndarray) -> bool:
    """All elements are zero, of either sign. Nearly always the first few tell."""
    if x.dtype == np.uint16:  # bfloat16
        return not (x[:64] & 0x7FFF).any() and not (x & 0x7FFF).any()
    return not x[:64].any() and not x.any()


def pack_slots(
    slots: Sequence[Slot],
    xs: Sequence[np.ndarray],
    buffers: Sequence[np.ndarray | None],
    momentum: float,
    planes: Any,
    zero: str,
    nan: str,
    stream: tuple[int, int, int],
) -> bool:
    """One native call; True if there was a NaN. The slots' first word counts only where it is one slot."""
    return _backend.core.pack_tensors(
        list(xs),
        None if momentum == 0 else list(buffers),
        momentum,
        1 - momentum,
        False,
        *planes,
        _backend.ZERO.index(zero),
        _backend.NAN.index(nan),
        *stream,
        slots[0].first,
    )
