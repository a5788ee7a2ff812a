"""Bound what any code can do: copies and loads that the planner prunes with and names in its errors."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

from electioncode.robustness.bounds import smallest_copies
from electioncode.robustness.tolerance import deciding_sides

# The mean takes k^3 operations on fractions; with more partitions only the copies are counted.
_MEAN_PARTITIONS = 63


def copies_needed(num_byzantine: int, num_partitions: int, tie: str) -> Fraction:
    """Return the least mean number of workers that must hold a partition; see `electioncode.bounds.smallest_copies`."""
    copies = Fraction(smallest_copies(num_byzantine))
    return copies / 2 if tie == "random" and num_partitions % 2 == 0 else copies


@lru_cache(maxsize=1 << 16)
def _mean_vote(k: int, pluses: int, load: int, tie: int) -> Fraction:
    """Return the mean honest vote of a worker with ``load`` partitions over the sign vectors with ``pluses`` +1."""
    total = 0
    for held in range(max(0, load - (k - pluses)), min(load, pluses) + 1):
        vote = 1 if 2 * held > load else -1 if 2 * held < load else tie
        total += vote * math.comb(pluses, held) * math.comb(k - pluses, load - held)
    return Fraction(total, math.comb(k, load)) if load else Fraction(0)


@lru_cache(maxsize=1 << 12)
def smallest_load(num_workers: int, num_byzantine: int, num_partitions: int, tie: str = "plus") -> int | None:
    """Return a lower bound on the largest load of any code of this size; None if there is no such code.

    The least margin over a deciding layer is at most the mean margin, and the mean depends on the row weights alone. So
    some mixture of weights must reach the required margin in the mean, on every deciding layer. Together with the
    copies that every partition needs, this excludes most loads.
    """
    n, k, b = num_workers, num_partitions, num_byzantine
    sides = deciding_sides(k, tie)
    if b > 0 and any(side.truth == 0 for side in sides):
        return None
    fewest = max(1, math.ceil(copies_needed(b, k, tie) * k / n))
    if fewest > k:
        return None
    if k > _MEAN_PARTITIONS:
        return fewest
    sides = [side for side in sides if side.truth]
    needs = [Fraction(2 * b + side.reserve, n) for side in sides]
    gaps: list[tuple[Fraction, Fraction]] = []
    for load in range(k + 1):
        means = [_mean_vote(k, side.pluses, load, side.tie) for side in sides]
        gaps.append((means[0] - needs[0], means[1] - needs[1]))
        if load >= fewest and _mixture_is_nonnegative(gaps):
            return load
    return None


def _mixture_is_nonnegative(points: list[tuple[Fraction, Fraction]]) -> bool:
    """Return whether some convex combination of points in the plane has no negative coordinate."""
    for x, y in points:
        for u, v in points:
            if x >= 0 and v >= 0:
                if y >= 0 or u >= 0:
                    return True
                # Weight t on (x, y): t >= -u / (x - u) for the first coordinate, t <= v / (v - y) for the second.
                if -u / (x - u) <= v / (v - y):
                    return True
    return False
