"""Simulate elections on packed words: each coordinate is one trial of a whole election."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from electioncode.codes import AllocationCode
from electioncode.core import PURPOSE_SIMULATION, choice, cpu, full_mask, number, words_for
from electioncode.votes import PackedSigns, Tally, local_majorities

NOISES = ("paper", "gaussian")
# Partitions draw from streams 0, 1, ...; everything else draws from streams that no partition reaches.
MESSAGE_STREAM = 2**31
_SETS_STREAM = 2**32 - 1
# Probabilities are rounded to multiples of 2^-24, which is less than the error of 10^12 trials.
_LEVELS = 24


def sign_error(snr: float, noise: str) -> float:
    """Return P(a partition's sign is wrong) at signal-to-noise ratio S >= 0 of its mean gradient.

    Args:
        snr: S, in [0, inf].
        noise: "paper": 1/2 - S / (2 sqrt(S^2 + 4)), the most that unimodal symmetric noise allows by Lemma 1;
            "gaussian": Phi(-S).
    """
    s = number("failure_rate", "snr", snr, 0, math.inf, "[]")
    choice("failure_rate", "noise", noise, NOISES)
    if noise == "gaussian":
        return 0.5 * math.erfc(s / math.sqrt(2))
    return 0.5 - s / (2 * math.hypot(s, 2)) if math.isfinite(s) else 0.0


def biased_words(probability: float, count: int, seed: int, step: int, stream: int) -> NDArray[np.uint64]:
    """Draw ``(count,)`` words whose bits are 1 with the given probability, independently.

    This takes one random word per binary digit of the probability, from the last digit to the first: a digit 1 takes
    the OR, which maps p to (1 + p) / 2, a digit 0 the AND, which maps it to p / 2.
    """
    digits = round(math.ldexp(probability, _LEVELS))
    if digits in (0, 1 << _LEVELS):
        return np.full(count, ~np.uint64(0) if digits else np.uint64(0))
    skipped = (digits & -digits).bit_length() - 1
    levels = _LEVELS - skipped
    random = np.empty(levels * count, dtype=np.uint64)
    cpu.random_words(random, seed, step, stream, PURPOSE_SIMULATION)
    # The last digit is 1, and an OR with zeros is the random word itself.
    words = random[:count].copy()
    for level in range(1, levels):
        row = random[level * count : (level + 1) * count]
        if digits >> (skipped + level) & 1:
            words |= row
        else:
            words &= row
    return words


def random_votes(k: int, d: int, right: float, seed: int, step: int) -> PackedSigns:
    """Draw votes ``(k, d)`` that are +1 with probability ``right``; row j of trial block ``step`` is stream j."""
    words = np.empty((k, words_for(d)), dtype=np.uint64)
    full = full_mask(d)
    for j in range(k):
        words[j] = biased_words(right, words_for(d), seed, step, j) & full
    return PackedSigns(words, d)


def random_sets(n: int, size: int, count: int, seed: int, step: int) -> NDArray[np.uint64]:
    """Draw ``(n, count)`` words: in each column all bits of ``size`` of the n rows are set, uniformly chosen."""
    drawn = np.empty(n * count, dtype=np.uint64)
    cpu.random_words(drawn, seed, step, _SETS_STREAM, PURPOSE_SIMULATION)
    rank = drawn.reshape(n, count).argsort(axis=0).argsort(axis=0)
    return np.where(rank < size, ~np.uint64(0), np.uint64(0))


def fixed_set(workers: tuple[int, ...], n: int, count: int) -> NDArray[np.uint64]:
    """Return ``(n, count)`` words: all bits set in the rows of the given workers, none in the others."""
    selected = np.zeros((n, count), dtype=np.uint64)
    selected[list(workers)] = ~np.uint64(0)
    return selected


def honest_messages(votes: PackedSigns, code: AllocationCode, tie: str, seed: int, step: int) -> PackedSigns:
    """Return every worker's message ``(n, d)`` with a mask: a worker without partitions abstains."""
    sent = local_majorities(votes, code, tie, seed=seed, step=step)
    words, mask = sent.words, voted(sent)
    busy = code.allocation.any(axis=1)
    if not busy.all():
        words, mask = words.copy(), mask.copy()
        words[~busy] = mask[~busy] = 0
    return PackedSigns(words, votes.d, mask)


def replace(honest: PackedSigns, selected: NDArray[np.uint64], sent: Any) -> PackedSigns:
    """Replace messages ``(n, d)`` where ``selected`` has bits.

    Args:
        honest: the messages, with a mask.
        selected: ``(n, W)`` words.
        sent: words that broadcast to ``(n, W)``. They vote on every coordinate.
    """
    assert honest.mask is not None
    selected = selected & full_mask(honest.d)
    return PackedSigns((honest.words & ~selected) | (sent & selected), honest.d, honest.mask | selected)


def voted(votes: PackedSigns) -> NDArray[np.uint64]:
    """Return the mask of NumPy votes; where they have none, that of votes on every coordinate, read-only."""
    return np.broadcast_to(full_mask(votes.d), votes.words.shape) if votes.mask is None else votes.mask


def margins(votes: PackedSigns) -> NDArray[np.int32]:
    """Return the sum ``(d,)`` of votes ``(n, d)``: ``votes.unpack(np.int32).sum(axis=0)``."""
    tally = Tally(votes.d, max(len(votes), 1))
    for i in range(len(votes)):
        tally.add(votes[i])
    return tally.margin()


def pack_bits(bits: NDArray[Any]) -> NDArray[np.uint64]:
    """Pack ``(..., d)`` booleans or integers into ``(..., ceil(d / 64))`` words: bit 1 where they are not 0."""
    words = np.zeros((*bits.shape[:-1], words_for(bits.shape[-1])), dtype=np.uint64)
    packed = np.packbits(bits, axis=-1, bitorder="little")
    words.view(np.uint8)[..., : packed.shape[-1]] = packed
    return words
