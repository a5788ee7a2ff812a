"""Define in obvious NumPy what every kernel must equal bit for bit: the oracle. Never optimise or change its code.

Words are uint64, coordinate c is bit ``c % 64`` of word ``c // 64``, padding bits are 0. Bit 1 is the vote +1.
A mask has bit 1 where the coordinate voted; a vote's bit is 0 where it did not. Random bits are keyed by seed, step,
stream and purpose, each 0 to 2**32 - 1. Arguments are not checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Words = np.ndarray  # uint64
PURPOSE_TIE, PURPOSE_ZERO, PURPOSE_ATTACK = 0, 1, 2


def to_words(bits: np.ndarray) -> Words:
    """Pack ``(..., d)`` booleans into ``(..., ceil(d / 64))`` words."""
    bits = np.asarray(bits, dtype=bool)
    pad = -bits.shape[-1] % 64
    padded = np.concatenate([bits, np.zeros((*bits.shape[:-1], pad), dtype=bool)], axis=-1)
    return np.ascontiguousarray(np.packbits(padded, axis=-1, bitorder="little")).view("<u8")


def to_bits(words: Words, d: int) -> np.ndarray:
    """Unpack ``(..., ceil(d / 64))`` words to ``(..., d)`` booleans."""
    words = np.ascontiguousarray(words, dtype="<u8")
    return np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")[..., :d].astype(bool)


def random_words(n: int, seed: int, step: int, stream: int, purpose: int) -> Words:
    """Draw n words of Philox4x32-10: key (seed, step), counter (word low, word high, stream, purpose)."""
    out = []
    for w in range(n):
        c0, c1, c2, c3 = w & 0xFFFFFFFF, w >> 32, stream, purpose
        k0, k1 = seed, step
        for _ in range(10):
            p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
            c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & 0xFFFFFFFF, (p0 >> 32) ^ c3 ^ k1, p0 & 0xFFFFFFFF
            k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
        out.append(c0 | c1 << 32)
    return np.array(out, dtype=np.uint64)


def random_bits(d: int, seed: int, step: int, stream: int, purpose: int) -> np.ndarray:
    """Draw ``(d,)`` random booleans: the bits of `random_words`."""
    return to_bits(random_words((d + 63) // 64, seed, step, stream, purpose), d)


def pack(
    x: np.ndarray, zero: str = "plus", nan: str = "raise", seed: int = 0, step: int = 0, stream: int = 0
) -> tuple[Words, Words | None]:
    """Return the signs of x ``(d,)`` as (words, mask); the mask is None unless a policy abstains."""
    x = np.asarray(x).astype(np.float64)
    if nan == "raise" and np.isnan(x).any():
        raise ValueError("pack: x has NaN")
    at_zero = {
        "plus": np.ones(x.shape, dtype=bool),
        "minus": np.zeros(x.shape, dtype=bool),
        "random": random_bits(x.shape[0], seed, step, stream, PURPOSE_ZERO),
        "abstain": np.zeros(x.shape, dtype=bool),
    }[zero]
    vote = np.where(x == 0, at_zero, x > 0)
    voted = np.ones(x.shape, dtype=bool)
    if zero == "abstain":
        voted &= x != 0
    if nan == "abstain":
        voted &= ~np.isnan(x)
    return to_words(vote), to_words(voted) if "abstain" in (zero, nan) else None


def unpack(words: Words, d: int, mask: Words | None = None, dtype: Any = np.float32) -> np.ndarray:
    """Return ``(d,)`` signs: +1 or -1, and 0 where the mask is 0."""
    signs = np.where(to_bits(words, d), 1, -1)
    if mask is not None:
        signs = np.where(to_bits(mask, d), signs, 0)
    return signs.astype(dtype)


def scores(
    words: Sequence[Words], d: int, masks: Sequence[Words | None] | None = None, weights: Sequence[int] | None = None
) -> np.ndarray:
    """Sum weight * sign over the voters, ``(d,)`` int64; a sign is 0 where the voter abstained."""
    total = np.zeros(d, dtype=np.int64)
    for i, row in enumerate(words):
        signs = unpack(row, d, None if masks is None else masks[i], np.int64)
        total += (1 if weights is None else int(weights[i])) * signs
    return total


def majority(
    words: Sequence[Words],
    d: int,
    tie: str = "plus",
    masks: Sequence[Words | None] | None = None,
    weights: Sequence[int] | None = None,
    seed: int = 0,
    step: int = 0,
    stream: int = 0,
) -> tuple[Words, Words | None]:
    """Return the signs of the scores as (words, mask); a score of 0 is a tie. The mask is None unless ties abstain."""
    score = scores(words, d, masks, weights)
    at_tie = {
        "plus": np.ones(d, dtype=bool),
        "minus": np.zeros(d, dtype=bool),
        "random": random_bits(d, seed, step, stream, PURPOSE_TIE),
        "abstain": np.zeros(d, dtype=bool),
    }[tie]
    winner = np.where(score == 0, at_tie, score > 0)
    return to_words(winner), to_words(score != 0) if tie == "abstain" else None


def local_majorities(
    words: Words,
    allocation: np.ndarray,
    d: int,
    tie: str = "plus",
    masks: Words | None = None,
    seed: int = 0,
    step: int = 0,
) -> tuple[Words, Words | None]:
    """Return in row i the majority of the partitions j with allocation[i, j] = 1; its random ties are of stream i + 1.

    A worker without partitions abstains. The masks are None unless there is one, or ties abstain.
    """
    allocation = np.asarray(allocation)
    shape = (len(allocation), (d + 63) // 64)
    out, voted = np.zeros(shape, dtype=np.uint64), np.zeros(shape, dtype=np.uint64)
    for i, row in enumerate(allocation):
        held = np.flatnonzero(row)
        if held.size == 0:
            continue
        row_masks = None if masks is None else [masks[j] for j in held]
        out[i], mask = majority([words[j] for j in held], d, tie, row_masks, None, seed, step, i + 1)
        voted[i] = to_words(np.ones(d, dtype=bool)) if mask is None else mask
    masked = tie == "abstain" or not allocation.any(axis=1).all()
    return out, voted if masked else None


def disagreement(
    words: Sequence[Words],
    winner: Words,
    d: int,
    masks: Sequence[Words | None] | None = None,
    winner_mask: Words | None = None,
) -> np.ndarray:
    """Count for each voter, ``(n,)`` int64, the coordinates where it and the winner both voted, and differently."""
    result = unpack(winner, d, winner_mask, np.int64)
    rows = [unpack(row, d, None if masks is None else masks[i], np.int64) for i, row in enumerate(words)]
    return np.array([np.count_nonzero(row * result == -1) for row in rows], dtype=np.int64)


def momentum(v: np.ndarray, g: np.ndarray, beta: float, maximize: bool = False) -> np.ndarray:
    """Return beta * v + (1 - beta) * g (maximize: -g), each product and the sum rounded to v's dtype, in this order."""
    weight = -(1 - beta) if maximize else 1 - beta
    compute = np.float64 if v.dtype == np.float64 else np.float32

    def rounded(a: np.ndarray) -> np.ndarray:
        return a.astype(v.dtype).astype(compute)

    a = rounded(compute(beta) * v.astype(compute))
    b = rounded(compute(weight) * g.astype(compute))
    return (a + b).astype(v.dtype)


def update(p: np.ndarray, signs: np.ndarray, lr: float, weight_decay: float = 0.0) -> np.ndarray:
    """Return (1 - lr * weight_decay) * p - lr * sign, each product and the sum rounded to p's dtype, in this order."""
    compute = np.float64 if p.dtype == np.float64 else np.float32
    decayed = (compute(1 - lr * weight_decay) * p.astype(compute)).astype(p.dtype).astype(compute)
    change = (compute(-lr) * signs.astype(compute)).astype(p.dtype).astype(compute)
    return (decayed + change).astype(p.dtype)


def checksum(words: Words) -> int:
    """Sum SplitMix64's finaliser of word i + (i + 1) * golden ratio over all i, modulo 2**64."""
    words = np.asarray(words, dtype=np.uint64)
    z = words + np.arange(1, words.size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return int(np.sum(z ^ (z >> np.uint64(31)), dtype=np.uint64))
