"""Byzantine workers that collude and know everything: what they send, and who they had better be."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from electioncode.core import full_mask
from electioncode.robustness.simulation import replace
from electioncode.votes import PackedSigns, Tally, majority

# Up to this many attacker sets are all tried.
_COUNTABLE = 1000


def check_attackers(workers: Iterable[int], n: int, function: str) -> tuple[int, ...]:
    """The workers ascending, or a ValueError unless they are different and in 0..n - 1."""
    chosen = tuple(sorted(int(w) for w in workers))
    if len(set(chosen)) != len(chosen) or (chosen and not 0 <= chosen[0] <= chosen[-1] < n):
        raise ValueError(f"{function}: attackers must be different workers in 0..{n - 1}, got {chosen}")
    return chosen


def _voted(votes: PackedSigns) -> NDArray[np.uint64]:
    if votes.mask is not None:
        return votes.mask
    return np.broadcast_to(full_mask(votes.d), votes.words.shape)


def omniscient(
    honest: PackedSigns,
    attackers: Sequence[int],
    truth: PackedSigns,
    tie: str = "plus",
    *,
    seed: int = 0,
    step: int = 0,
) -> PackedSigns:
    """The coalition that sees all honest messages and turns the result wherever it can be turned.

    Parameters
    ----------
    honest : PackedSigns (n, d), NumPy
        What every worker would send if honest, the attackers' rows included.
    attackers : sequence of int
        Byzantine workers.
    truth : PackedSigns (d,), NumPy
        What the result must not be: the majority of the partitions' signs, or the sign of the true gradient.
    tie, seed, step
        The decoder's tie policy and random stream, as `electioncode.majority` takes them.

    Returns
    -------
    PackedSigns (n, d)
        All messages as sent. Where the coalition turns the result its members vote against ``truth``;
        elsewhere they send their honest messages and so do not give themselves away.

    Source: the worst case of the paper's Theorem 3 ("send the opposite of mu").
    """
    n = honest.shape[0]
    chosen = check_attackers(attackers, n, "omniscient")
    selected = np.zeros(honest.words.shape, dtype=np.uint64)
    selected[list(chosen)] = ~np.uint64(0)
    masked = PackedSigns(honest.words, honest.d, _voted(honest))
    attacked = replace(masked, selected, ~truth.words)
    result = majority(attacked, tie, seed=seed, step=step)
    turned = (result.words ^ truth.words) | (_voted(result) ^ _voted(truth))
    return replace(masked, selected & turned, ~truth.words)


def collude(honest_sum: ArrayLike, num_colluders: int, *, at_zero: str = "plus") -> NDArray[np.int64]:
    """Sum of the votes of f colluders who know S, the sum of all other votes, at each coordinate.

    They turn the sign where |S| < f, with as little as that takes, freeze it at 0 where |S| = f, and push
    against it elsewhere:
    S > f: -f; S < -f: f; 0 <= S <= f: -S - ((f - S) mod 2); -f <= S < 0: -S + ((f + S) mod 2).

    Parameters
    ----------
    honest_sum : array_like of int, any shape
    num_colluders : int
        f >= 0.
    at_zero : str
        Direction at S = 0 for odd f: "minus" as the report says, "plus" as the authors' code does.

    Returns
    -------
    ndarray of int64, the same shape
        Of the parity of f and at most f in absolute value, so that f votes of +-1 give it: see `colluders`.

    Source: Akoun and Meyer, "SignSGD: Fault-Tolerance to Blind and Byzantine Adversaries" (2022).
    """
    f = int(num_colluders)
    if f < 0:
        raise ValueError(f"collude: num_colluders must be >= 0, got {num_colluders}")
    if at_zero not in ("plus", "minus"):
        raise ValueError(f"collude: at_zero must be one of 'plus', 'minus', got {at_zero!r}")
    s = np.asarray(honest_sum, dtype=np.int64)
    falling = -s - (f - s) % 2
    rising = -s + (f + s) % 2
    inside = np.where((s > 0) | (s == 0) & (at_zero == "minus"), falling, rising)
    return np.where(s > f, -f, np.where(s < -f, f, inside))


def colluders(honest: PackedSigns, num_colluders: int, *, at_zero: str = "plus") -> PackedSigns:
    """The f colluders' messages (f, d): +-1 votes that sum to `collude`, given all others' (n - f, d).

    Colluder i votes +1 where (f + A) / 2 > i. Raises ValueError where f < 1.
    """
    f = int(num_colluders)
    if f < 1:
        raise ValueError(f"colluders: num_colluders must be >= 1, got {num_colluders}")
    tally = Tally(honest.d, max(honest.shape[0], 1))
    for i in range(honest.shape[0]):
        tally.add(honest[i])
    pluses = (f + collude(tally.margin(), f, at_zero=at_zero)) // 2
    words = np.zeros((f, full_mask(honest.d).size), dtype=np.uint64)
    for i in range(f):
        packed = np.packbits(pluses > i, bitorder="little")
        words[i].view(np.uint8)[: packed.size] = packed
    return PackedSigns(words, honest.d)


@dataclass(frozen=True)
class Placement:
    """The workers that do the most harm, the harm, and whether every set was tried."""

    attackers: tuple[int, ...]
    harm: float
    exhaustive: bool


def worst_placement(
    num_workers: int, num_byzantine: int, harm: Callable[[tuple[int, ...]], float]
) -> Placement:
    """The set of b workers with the greatest ``harm(set)``.

    All sets are tried where there are at most 1000; otherwise workers are taken greedily and then exchanged
    one for one until no exchange helps, which may miss the worst set (``exhaustive`` says which it was).
    """
    n, b = num_workers, num_byzantine
    if not 0 <= b <= n:
        raise ValueError(f"worst_placement: num_byzantine must be in 0..{n}, got {b}")
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
        options = [
            tuple(sorted((*(x for x in chosen if x != out), into)))
            for out in chosen
            for into in range(n)
            if into not in chosen
        ]
        better, option = max((harm(option), option) for option in options)
        if better <= value:
            return Placement(chosen, value, False)
        value, chosen = better, option
