"""Search for light codes as set packings, a family that holds Algorithm 1 and the proven optima for up to 9 workers.

A code of n workers, n partitions and tolerance b (n odd) is made of

* s = (n - 1) / 2 - b workers with one partition each, all different,
* L workers that hold sets of odd size of the other s + 2b + 1 partitions, the points, and
* n - s - L workers that hold everything.

If v points are -1, the workers whose sets have a majority of -1, the *killed* sets, vote -1. Counting votes in a sign
vector of the deciding layer, the code tolerates b exactly if b <= v <= s + b points never kill more than v - b sets:
killing t sets must cost b + t points. Every further set spares a worker the whole batch, so the task is to pack as many
sets as possible, and light ones. Algorithm 1 takes intervals of 2b + 1 points, each sharing b with the next. The best
packings have further sets across them.

The same sets serve n - 1 workers (one row of a single partition less), and k != n: see `code_from_sets`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from electioncode.codes import AllocationCode

# Sets of points are bit masks, and all 2^points of them are held in memory.
MAX_POINTS = 24


def num_points(s: int, b: int) -> int:
    """Return s + 2b + 1."""
    return s + 2 * b + 1


def _popcounts(numbers: NDArray[np.uint32]) -> NDArray[np.int8]:
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(numbers).astype(np.int8)
    table = np.array([bin(x).count("1") for x in range(1 << 12)], dtype=np.int8)
    return table[numbers & 0xFFF] + table[numbers >> 12 & 0xFFF] + table[numbers >> 24]


def weight(sets: Sequence[int]) -> int:
    """Count the points of all sets together."""
    return sum(points.bit_count() for points in sets)


def quality(sets: Sequence[int]) -> tuple[int, int]:
    """Rank packings, the best highest: more sets are better, and of equally many the lighter."""
    return len(sets), -weight(sets)


class Packing:
    """Set packings for s and b: what can be added, and a search for more.

    Args:
        s, b: at least 0, with s + 2b + 1 <= 24 points (else ValueError).
        heaviest: the largest set considered; None: no limit.
        seed: of the search.
    """

    def __init__(self, s: int, b: int, heaviest: int | None = None, seed: int = 0):
        self.s, self.b, self.points = s, b, num_points(s, b)
        if self.points > MAX_POINTS:
            raise ValueError(f"Packing: s + 2 b + 1 must be at most {MAX_POINTS}, got {self.points} for s={s}, b={b}")
        self.rng = np.random.default_rng(seed)
        numbers = np.arange(1 << self.points, dtype=np.uint32)
        sizes = _popcounts(numbers)
        relevant = (sizes >= b) & (sizes <= s + b)
        self.killers, self.sizes = numbers[relevant], sizes[relevant]
        heaviest = self.points if heaviest is None else heaviest
        # A set of fewer than 2b + 1 points is killed by b of them.
        fit = (sizes % 2 == 1) & (sizes >= 2 * b + 1) & (sizes <= heaviest)
        order = np.argsort(sizes[fit], kind="stable")
        self.candidates, self.weights = numbers[fit][order], sizes[fit][order]

    def killed(self, points: int) -> NDArray[np.bool_]:
        """Mark the killers that kill the set ``points``."""
        return 2 * _popcounts(self.killers & np.uint32(points)) > points.bit_count()

    def slack(self, sets: Sequence[int]) -> NDArray[np.int8]:
        """Count how many more sets each killer may kill; in a packing no count is negative."""
        slack = self.sizes - np.int8(self.b)
        for points in sets:
            slack = slack - self.killed(points)
        return slack

    def addable(self, slack: NDArray[np.int8], candidates: NDArray[np.intp], deadline: float) -> NDArray[np.intp]:
        """Return the candidates (indices) that no killer without slack would kill; none after the deadline."""
        # Killers of b points kill no candidate.
        tight = self.rng.permutation(np.flatnonzero((slack == 0) & (self.sizes > self.b)))
        # Large killers rule out most candidates, so they come first.
        tight = tight[np.argsort(-self.sizes[tight], kind="stable")]
        place = np.arange(self.points, dtype=np.uint32)
        position, step = 0, 256
        while position < len(tight) and len(candidates):
            if time.perf_counter() > deadline:
                return candidates[:0]
            killers = self.killers[tight[position : position + step]]
            position, step = position + step, min(4 * step, 8192)
            signs = 1 - 2 * (killers[None, :] >> place[:, None] & 1).astype(np.float32)
            kept = []
            for block in np.array_split(candidates, len(candidates) * len(killers) // (1 << 24) + 1):
                members = (self.candidates[block][:, None] >> place & 1).astype(np.float32)
                kept.append(block[(members @ signs > 0).all(axis=1)])
            candidates = np.concatenate(kept)
        return candidates

    def fill(self, sets: Sequence[int], greed: float, deadline: float) -> list[int]:
        """Add sets until none can be added, each with probability ``greed`` one of the lightest possible."""
        chosen = list(sets)
        slack = self.slack(chosen)
        candidates = np.arange(len(self.candidates))
        while time.perf_counter() < deadline:
            candidates = self.addable(slack, candidates, deadline)
            if not len(candidates):
                break
            weights = self.weights[candidates]
            light = weights <= weights.min() + (0 if self.rng.random() < greed else 2)
            points = int(self.candidates[self.rng.choice(candidates[light])])
            chosen.append(points)
            slack = slack - self.killed(points)
        return chosen

    def search(self, seconds: float, start: Sequence[int] = ()) -> list[int]:
        """Search for the packing of the best `quality` by taking a few sets out and filling up again."""
        deadline = time.perf_counter() + seconds
        current = self.fill(start, 1.0, deadline)
        while len(current) > 1 and time.perf_counter() < deadline:
            out = min(int(self.rng.integers(1, 4)), len(current) - 1)
            keep = self.rng.permutation(len(current))[out:]
            other = self.fill([current[i] for i in sorted(keep)], 0.8, deadline)
            if quality(other) >= quality(current):
                current = other
        return sorted(current, key=lambda points: (points.bit_count(), points))


def glue(first: Sequence[int], first_points: int, second: Sequence[int], b: int) -> list[int]:
    """Join two packings on common points, b of which they share, to one for s1 + s2 + b + 1.

    Killing t1 and t2 sets costs b + t1 and b + t2 points, of which at most b count twice. Intervals of
    Algorithm 1 are single sets glued together.
    """
    return [*first, *(points << (first_points - b) for points in second)]


def code_from_sets(
    num_workers: int, num_partitions: int, num_byzantine: int, sets: Sequence[int], name: str
) -> AllocationCode:
    """Return the code of a packing for ``packing_size(n, k, b)``.

    Two more workers that hold everything add one to the tolerance, so n workers and k partitions of the same parity are
    k workers with tolerance b - (n - k) / 2. Even k needs one row of a single partition less. If the parities differ,
    one worker stays idle. Raises ValueError if the rows are more than the workers.
    """
    n, k = num_workers, num_partitions
    s, _ = packing_size(n, k, num_byzantine)
    units = s if k % 2 else s - 1
    busy = n - (n - k) % 2
    everything = busy - units - len(sets)
    if everything < 0:
        raise ValueError(f"code_from_sets: {units} + {len(sets)} rows are more than {busy} workers")
    matrix = np.zeros((n, k), dtype=np.uint8)
    matrix[:units, :units] = np.eye(units, dtype=np.uint8)
    for row, points in enumerate(sets, start=units):
        matrix[row, units:] = [points >> j & 1 for j in range(k - units)]
    matrix[units + len(sets) : busy] = 1
    return AllocationCode(matrix, name=name, num_byzantine=num_byzantine)


def packing_size(num_workers: int, num_partitions: int, num_byzantine: int) -> tuple[int, int]:
    """Return (s, b) of the packing in a code of this size; b <= 0 where single partitions and full rows suffice."""
    n, k = num_workers, num_partitions
    b = num_byzantine - (n - (n - k) % 2 - k) // 2
    return (k - 1) // 2 - b if k % 2 else k // 2 - b, b
