"""Colluding workers that know everything: what they send, and which workers do the most harm."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from electioncode.core import choice, integer
from electioncode.robustness.simulation import fixed_set, margins, pack_bits, replace, voted
from electioncode.votes import PackedSigns, majority

# Up to this many sets of attackers are all tried.
_COUNTABLE = 1000


def check_attackers(workers: Iterable[int], n: int, function: str) -> tuple[int, ...]:
    """Return the workers, ascending; raise ValueError unless they are distinct and in 0..n - 1."""
    chosen = tuple(sorted(int(w) for w in workers))
    if len(set(chosen)) != len(chosen) or (chosen and not 0 <= chosen[0] <= chosen[-1] < n):
        raise ValueError(f"{function}: attackers must be different workers in 0..{n - 1}, got {chosen}")
    return chosen


def omniscient(
    honest: PackedSigns,
    attackers: Sequence[int],
    truth: PackedSigns,
    tie: str = "plus",
    *,
    seed: int = 0,
    step: int = 0,
) -> PackedSigns:
    """Return the messages of a coalition that sees all honest ones and turns the result wherever it can.

    Args:
        honest: NumPy votes ``(n, d)``: what every worker would send if honest, the attackers included.
        attackers: the Byzantine workers, distinct and in 0..n - 1 (else ValueError).
        truth: NumPy votes ``(d,)`` that the result must not equal: the majority of the partitions' signs, or the sign
            of the true gradient.
        tie, seed, step: the decoder's tie policy and random stream, as `electioncode.majority` takes them.

    Returns:
        All messages ``(n, d)`` as sent, with a mask. Where the coalition turns the result, its members vote against
        truth; elsewhere they send their honest messages and so do not give themselves away.

    Source: the worst case of the paper's Theorem 3 ("send the opposite of mu").
    """
    chosen = check_attackers(attackers, len(honest), "omniscient")
    selected = fixed_set(chosen, *honest.words.shape)
    masked = PackedSigns(honest.words, honest.d, voted(honest))
    result = majority(replace(masked, selected, ~truth.words), tie, seed=seed, step=step)
    turned = (result.words ^ truth.words) | (voted(result) ^ voted(truth))
    return replace(masked, selected & turned, ~truth.words)


def collude(honest_sum: ArrayLike, num_colluders: int, *, at_zero: str = "plus") -> NDArray[np.int64]:
    """Return the sum of the votes of f colluders who know S, the sum of all other votes, at each coordinate.

    They turn the sign where |S| < f, by as little as possible, freeze it at 0 where |S| = f, and push against it
    elsewhere:
    S > f: -f; S < -f: f; 0 <= S <= f: -S - ((f - S) mod 2); -f <= S < 0: -S + ((f + S) mod 2).

    Args:
        honest_sum: S, integers of any shape.
        num_colluders: f >= 0.
        at_zero: the direction at S = 0 for odd f: "minus" as in the report, "plus" as in the authors' code.

    Returns:
        int64 of the shape of S, with the parity of f and at most f in absolute value, so that f votes of +-1 can sum
        to it: see `colluders`.

    Source: Akoun and Meyer, "SignSGD: Fault-Tolerance to Blind and Byzantine Adversaries" (2022).
    """
    f = integer("collude", "num_colluders", num_colluders, 0)
    choice("collude", "at_zero", at_zero, ("plus", "minus"))
    s = np.asarray(honest_sum, dtype=np.int64)
    falling = -s - (f - s) % 2
    rising = -s + (f + s) % 2
    inside = np.where((s > 0) | (s == 0) & (at_zero == "minus"), falling, rising)
    return np.where(s > f, -f, np.where(s < -f, f, inside))


def colluders(honest: PackedSigns, num_colluders: int, *, at_zero: str = "plus") -> PackedSigns:
    """Return the messages ``(f, d)`` of f >= 1 colluders, given those of all others, NumPy votes ``(n - f, d)``.

    Every message votes everywhere, and they sum to ``collude(honest.unpack().sum(axis=0), f, at_zero=at_zero)``.
    """
    f = integer("colluders", "num_colluders", num_colluders, 1)
    pluses = (f + collude(margins(honest), f, at_zero=at_zero)) // 2
    return PackedSigns(pack_bits(pluses > np.arange(f)[:, None]), honest.d)


@dataclass(frozen=True)
class Placement:
    """The workers that do the most harm, the harm, and whether every set was tried."""

    attackers: tuple[int, ...]
    harm: float
    exhaustive: bool


def worst_placement(num_workers: int, num_byzantine: int, harm: Callable[[tuple[int, ...]], float]) -> Placement:
    """Find the set of b workers (0 <= b <= n) with the greatest ``harm(set)``.

    Up to 1000 sets are all tried. Where there are more, workers are chosen greedily and then exchanged one for one
    until no exchange helps, which may miss the worst set; ``exhaustive`` says which of the two it was.
    """
    n, b = num_workers, integer("worst_placement", "num_byzantine", num_byzantine, 0, num_workers)
    if math.comb(n, b) <= _COUNTABLE:
        harms = {chosen: harm(chosen) for chosen in itertools.combinations(range(n), b)}
        worst = max(harms, key=harms.__getitem__)
        return Placement(worst, harms[worst], True)
    chosen: tuple[int, ...] = ()
    value = 0.0
    for _ in range(b):
        options = [tuple(sorted((*chosen, w))) for w in range(n) if w not in chosen]
        value, chosen = max((harm(option), option) for option in options)
    while True:
        options = [tuple(sorted({*chosen, into} - {out})) for out in chosen for into in range(n) if into not in chosen]
        better, option = max((harm(option), option) for option in options)
        if better <= value:
            return Placement(chosen, value, False)
        value, chosen = better, option
