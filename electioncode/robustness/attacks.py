"""What a Byzantine worker sends in place of its message.

An attack is a callable ``attack(message, *, worker, step) -> PackedSigns`` on one worker's honest message
(d,). It knows only that message; attackers that see all honest messages are in `electioncode.adversaries`.
All of them are values: comparable, picklable, and the same bits in every process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from electioncode.votes import PackedSigns, random_signs


class Attack(Protocol):
    """The type of every attack: the honest message (d,) in, what is sent instead (d,) out."""

    def __call__(self, message: PackedSigns, *, worker: int, step: int) -> PackedSigns: ...


def _last_word(d: int) -> int:
    """The valid bits of the last word of d coordinates."""
    return (1 << ((d - 1) % 64 + 1)) - 1


def _is_numpy(words: Any) -> bool:
    return isinstance(words, np.ndarray)


def _like(words: np.ndarray, message: PackedSigns) -> Any:
    """``words`` (uint64 ndarray) as the kind of array, on the device, of the message."""
    if _is_numpy(message.words):
        return words
    import torch

    return torch.from_numpy(words.view(np.int64)).to(message.words.device)


@dataclass(frozen=True)
class _Reverse:
    def __call__(self, message: PackedSigns, *, worker: int, step: int) -> PackedSigns:
        words = ~message.words
        if message.mask is not None:
            words &= message.mask
        elif message.d:
            last = _last_word(message.d)
            # torch holds words as int64, so its masks are signed.
            words[..., -1] &= np.uint64(last) if _is_numpy(words) else last - ((last >> 63) << 64)
        return PackedSigns(words, message.d, message.mask)


@dataclass(frozen=True)
class _Directional:
    direction: int

    def __call__(self, message: PackedSigns, *, worker: int, step: int) -> PackedSigns:
        shape = tuple(message.words.shape)
        words = np.zeros(shape, dtype=np.uint64)
        if self.direction > 0 and message.d:
            words[...] = np.uint64(2**64 - 1)
            words[..., -1] = np.uint64(_last_word(message.d))
        return PackedSigns(_like(words, message), message.d)


@dataclass(frozen=True)
class _Random:
    seed: int

    def __call__(self, message: PackedSigns, *, worker: int, step: int) -> PackedSigns:
        drawn = random_signs(message.d, seed=self.seed, step=step, stream=worker)
        return PackedSigns(_like(drawn.words, message), message.d)


def reverse() -> Attack:
    """Send the opposite of every vote; coordinates without a vote stay without one.

    Equivalent to ``-message.unpack()``. Source: the paper, section 4 ("reverse" attack).
    """
    return _Reverse()


def directional(direction: int = 1) -> Attack:
    """Send ``direction`` (+1 or -1) at every coordinate, whatever the honest message.

    Equivalent to ``np.full(d, direction)``. Raises ValueError where direction is neither.
    Source: the paper, section 4 ("directional" attack).
    """
    if direction not in (1, -1):
        raise ValueError(f"directional: direction must be 1 or -1, got {direction!r}")
    return _Directional(int(direction))


def random(seed: int = 0) -> Attack:
    """Send fair random signs at every coordinate, new ones each step, different for each worker.

    The bits are ``random_signs(d, seed=seed, step=step, stream=worker, purpose=2)``.

    Parameters
    ----------
    seed : int
        0..2**32 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(
            f"random: seed must be an integer in 0..4294967295, got {type(seed).__name__} {seed!r}"
        )
    if not 0 <= seed < 2**32:
        raise ValueError(f"random: seed must be in 0..4294967295, got {seed}")
    return _Random(int(seed))


NAMES = ("reverse", "directional", "directional+", "directional-", "random")


def by_name(name: str, seed: int = 0) -> Attack:
    """The attack called ``name``: 'reverse', 'directional' (or 'directional+'), 'directional-', 'random'.

    ``seed`` is used by 'random' only. Raises ValueError for any other name.
    """
    if name == "reverse":
        return reverse()
    if name in ("directional", "directional+"):
        return directional(1)
    if name == "directional-":
        return directional(-1)
    if name == "random":
        return random(seed)
    raise ValueError(f"by_name: name must be one of {', '.join(map(repr, NAMES))}, got {name!r}")
