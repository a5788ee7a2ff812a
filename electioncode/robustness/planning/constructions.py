"""Construct codes in closed form: copies, copies below full rows, and Algorithm 1's family with given sets."""

from __future__ import annotations

from functools import cache

import numpy as np

from electioncode.codes import AllocationCode
from electioncode.robustness.planning import packing, table


def copies(num_workers: int, num_partitions: int, num_byzantine: int) -> AllocationCode | None:
    """Return the code with 2b + 1 workers for each partition and the rest idle: no load exceeds 1 / k of the batch.

    For odd k a majority of partitions is a majority of workers with a margin of 2b + 1. None for even k with b > 0, or
    if there are too few workers.
    """
    n, k, b = num_workers, num_partitions, num_byzantine
    each = 2 * b + 1
    if k * each > n or (k % 2 == 0 and b > 0):
        return None
    matrix = np.zeros((n, k), dtype=np.uint8)
    matrix[np.arange(k * each), np.arange(k * each) // each] = 1
    return AllocationCode(matrix, name=f"copies({n}, {k}, {b})")


def copies_and_full(num_workers: int, num_partitions: int, num_byzantine: int) -> AllocationCode | None:
    """Return the code with one worker per partition, 2b that compute everything, and the rest idle; None if n < k + 2b.

    The single copies vote right by a margin of 1, and the full rows add 2b. Every partition has 2b + 1 copies, the
    fewest possible.
    """
    n, k, b = num_workers, num_partitions, num_byzantine
    if n < k + 2 * b:
        return None
    matrix = np.zeros((n, k), dtype=np.uint8)
    matrix[:k] = np.eye(k, dtype=np.uint8)
    matrix[k : k + 2 * b] = 1
    return AllocationCode(matrix, name=f"copies-and-full({n}, {k}, {b})")


def full(num_workers: int, num_partitions: int, num_byzantine: int, allow_idle: bool) -> AllocationCode:
    """Return the code in which 2b + 1 workers compute everything and the rest idle; all compute if none may idle."""
    matrix = np.zeros((num_workers, num_partitions), dtype=np.uint8)
    matrix[: 2 * num_byzantine + 1 if allow_idle else num_workers] = 1
    return AllocationCode(matrix, name=f"full({num_workers}, {num_partitions}, {num_byzantine})")


def packed(
    num_workers: int, num_partitions: int, num_byzantine: int, seconds: float, seed: int = 0
) -> AllocationCode | None:
    """Return the code of the best packing known, or found in ``seconds``; None where `copies_and_full` is as light."""
    n, k = num_workers, num_partitions
    s, b = packing.packing_size(n, k, num_byzantine)
    units = s if k % 2 else s - 1
    if b <= 0 or units < 0 or (s == 0 and k % 2 == 0):
        return None
    sets = table.known_packing(s, b)
    if sets is None:
        sets = pack_sets(s, b, seconds, seed)
    if units + len(sets) > n - (n - k) % 2:
        return None
    return packing.code_from_sets(n, k, num_byzantine, sets, f"packed({n}, {k}, {num_byzantine})")


def pack_sets(s: int, b: int, seconds: float, seed: int = 0) -> list[int]:
    """Find a packing for any s: searched where its points can be enumerated in time, else glued from smaller ones."""
    best = list(_glued(s, b))
    if seconds > 0 and packing.num_points(s, b) <= packing.MAX_POINTS - 4:
        found = packing.Packing(s, b, min(2 * b + 9, packing.num_points(s, b)), seed).search(seconds, best)
        best = max(best, found, key=packing.quality)
    return best


@cache
def _glued(s: int, b: int) -> tuple[int, ...]:
    """Return the best packing for s from the table or smaller packings: two glued, or one with a point to spare."""
    known = table.known_packing(s, b)
    if known is not None:
        return tuple(known)
    options: list[list[int]] = [[(1 << (2 * b + 1)) - 1]]
    if s:
        spare = list(_glued(s - 1, b))
        options += [spare] if len(spare) <= s else []
    for first in range((s - b) // 2, s - b):
        one, two = list(_glued(first, b)), list(_glued(s - b - 1 - first, b))
        options.append(packing.glue(one, packing.num_points(first, b), two, b))
    best = max(options, key=packing.quality)
    return tuple(best)
