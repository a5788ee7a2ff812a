"""Random votes on packed words: each coordinate is one trial of a whole election."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from electioncode import core
from electioncode.codes import AllocationCode
from electioncode.core import words_for
from electioncode.votes import PackedSigns, local_majorities

# Partitions draw from streams 0, 1, ...; the rest starts where no partition comes.
MESSAGE_STREAM = 2**31
_SETS_STREAM = 2**32 - 1
# Probabilities are rounded to multiples of 2^-24, less than the error of 10^12 trials.
_LEVELS = 24


def full_words(d: int) -> NDArray[np.uint64]:
    """(ceil(d / 64),) words with the bits of all d coordinates set."""
    words = np.full(words_for(d), ~np.uint64(0))
    if d % 64:
        words[-1] = np.uint64((1 << d % 64) - 1)
    return words


def popcounts(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Ones of each word, of the same shape."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(words).astype(np.int64)
    bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=-1)
    return bits.reshape(*words.shape, 64).sum(axis=-1, dtype=np.int64)


def sign_error(snr: float, noise: str) -> float:
    """P(a partition's sign is wrong) at signal-to-noise ratio S >= 0 of its mean gradient.

    noise "paper": 1/2 - S / (2 sqrt(S^2 + 4)), the most that unimodal symmetric noise allows by Lemma 1;
    "gaussian": Phi(-S).
    """
    s = float(snr)
    if not s >= 0:
        raise ValueError(f"failure_rate: snr must be >= 0, got {snr!r}")
    if noise == "paper":
        return 0.5 - s / (2 * math.hypot(s, 2)) if math.isfinite(s) else 0.0
    if noise == "gaussian":
        return 0.5 * math.erfc(s / math.sqrt(2))
    raise ValueError(f"failure_rate: noise must be one of 'paper', 'gaussian', got {noise!r}")


def biased_words(probability: float, count: int, seed: int, step: int, stream: int) -> NDArray[np.uint64]:
    """(count,) words whose bits are 1 with ``probability``, independently.

    One random word a binary digit of the probability, from the last to the first: a digit 1 takes the OR,
    which maps p to (1 + p) / 2, a digit 0 the AND, which maps it to p / 2.
    """
    digits = round(math.ldexp(probability, _LEVELS))
    if digits in (0, 1 << _LEVELS):
        return np.full(count, ~np.uint64(0) if digits else np.uint64(0))
    skipped = (digits & -digits).bit_length() - 1
    levels = _LEVELS - skipped
    random = np.empty(levels * count, dtype=np.uint64)
    core.cpu.random_words(random, seed, step, stream, core.PURPOSE_SIMULATION)
    # The last digit is 1, and an OR with nothing is the random word itself.
    words = random[:count].copy()
    for level in range(1, levels):
        row = random[level * count : (level + 1) * count]
        if digits >> (skipped + level) & 1:
            words |= row
        else:
            words &= row
    return words


def random_votes(k: int, d: int, right: float, seed: int, step: int) -> PackedSigns:
    """Votes (k, d) that are +1 with probability ``right``; row j of trial block ``step`` is stream j."""
    words = np.empty((k, words_for(d)), dtype=np.uint64)
    full = full_words(d)
    for j in range(k):
        words[j] = biased_words(right, words_for(d), seed, step, j) & full
    return PackedSigns(words, d)


def honest_messages(votes: PackedSigns, code: AllocationCode, tie: str, seed: int, step: int) -> PackedSigns:
    """Every worker's message (n, d) with a mask: a worker without partitions abstains."""
    sent = local_majorities(votes, code, tie, seed=seed, step=step)
    words, mask = sent.words, sent.mask
    if mask is None:
        mask = np.broadcast_to(full_words(votes.d), words.shape)
    busy = code.allocation.any(axis=1)
    if not busy.all():
        words, mask = words.copy(), mask.copy()
        words[~busy] = mask[~busy] = 0
    return PackedSigns(words, votes.d, mask)


def random_sets(n: int, size: int, count: int, seed: int, step: int) -> NDArray[np.uint64]:
    """(n, count) words: in column w all bits of ``size`` of the n rows are set, drawn uniformly."""
    drawn = np.empty(n * count, dtype=np.uint64)
    core.cpu.random_words(drawn, seed, step, _SETS_STREAM, core.PURPOSE_SIMULATION)
    rank = drawn.reshape(n, count).argsort(axis=0).argsort(axis=0)
    return np.where(rank < size, ~np.uint64(0), np.uint64(0))


def replace(honest: PackedSigns, selected: NDArray[np.uint64], sent: Any) -> PackedSigns:
    """``sent`` (words that broadcast to (n, W), all voted) where ``selected`` (n, W), else ``honest``."""
    assert honest.mask is not None
    full = full_words(honest.d)
    words = (honest.words & ~selected) | (sent & selected & full)
    return PackedSigns(words, honest.d, honest.mask | (selected & full))
