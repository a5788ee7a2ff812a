"""Attacks: what a Byzantine worker sends in place of its message.

An attack is a callable ``attack(message, *, worker, step) -> PackedSigns`` on one worker's honest message ``(d,)``. It
knows only that message; attackers that see all honest messages are in `electioncode.adversaries`. Attacks are values:
comparable, picklable, and equal in their bits in every process. What is sent has the kind and device of the message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from electioncode.core import choice, full_mask, integer
from electioncode.votes import PackedSigns, random_signs

NAMES = ("reverse", "directional", "directional+", "directional-", "random")


class Attack(Protocol):
    """The type of every attack: the honest message ``(d,)`` in, what is sent instead ``(d,)`` out."""

    def __call__(self, message: PackedSigns, *, worker: int, step: int) -> PackedSigns: ...


@dataclass(frozen=True)
class _Reverse:
    def __call__(self, message: PackedSigns, *, worker: int, step: int) -> PackedSigns:
        words = ~message.words
        if message.mask is not None:
            words &= message.mask
        else:
            words[..., -1:] &= message.backend.adopt(full_mask(message.d)[-1:])
        return PackedSigns(words, message.d, message.mask)


@dataclass(frozen=True)
class _Directional:
    direction: int

    def __call__(self, message: PackedSigns, *, worker: int, step: int) -> PackedSigns:
        words = np.zeros(tuple(message.words.shape), dtype=np.uint64)
        if self.direction > 0:
            words[...] = full_mask(message.d)
        return PackedSigns(message.backend.adopt(words), message.d)


@dataclass(frozen=True)
class _Random:
    seed: int

    def __call__(self, message: PackedSigns, *, worker: int, step: int) -> PackedSigns:
        drawn = random_signs(message.d, seed=self.seed, step=step, stream=worker)
        return PackedSigns(message.backend.adopt(drawn.words), message.d)


def reverse() -> Attack:
    """Return the attack that sends the opposite of every vote; coordinates without a vote stay without one.

    Equals ``-message.unpack()``. Source: the paper, section 4 ("reverse" attack).
    """
    return _Reverse()


def directional(direction: int = 1) -> Attack:
    """Return the attack that sends ``direction`` (1 or -1, else ValueError) at every coordinate.

    Equals ``np.full(d, direction)``. Source: the paper, section 4 ("directional" attack).
    """
    if direction not in (1, -1):
        raise ValueError(f"directional: direction must be 1 or -1, got {direction!r}")
    return _Directional(int(direction))


def random(seed: int = 0) -> Attack:
    """Return the attack that sends fair random signs, new ones every step and different ones from each worker.

    Equals ``random_signs(d, seed=seed, step=step, stream=worker, purpose=2)``, with seed in 0..2**32 - 1.
    """
    return _Random(integer("random", "seed", seed, 0, 2**32 - 1))


def by_name(name: str, seed: int = 0) -> Attack:
    """Return an attack by its name: 'reverse', 'directional' (or 'directional+'), 'directional-' or 'random'.

    Only 'random' uses the seed. Any other name raises ValueError.
    """
    choice("by_name", "name", name, NAMES)
    if name == "random":
        return random(seed)
    return reverse() if name == "reverse" else directional(-1 if name == "directional-" else 1)
