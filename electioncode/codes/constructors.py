"""Construct the codes of the paper and its neighbours: uncoded, deterministic, Bernoulli, repetition, cyclic."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from electioncode.codes.allocation import MAX_PARTITIONS, MAX_WORKERS, AllocationCode
from electioncode.core import integer, number


def uncoded(num_workers: int) -> AllocationCode:
    """Return the code in which each worker computes its own partition: plain SignSGD with majority vote.

    Its allocation is ``np.eye(num_workers)``, with num_workers in 1..4095. It tolerates no Byzantine worker: one liar
    turns a vote of (n + 1) / 2 to (n - 1) / 2.

    Source: Bernstein et al. (ICLR 2019); the paper, section 2 (G = I_n).
    """
    n = integer("uncoded", "num_workers", num_workers, 1, MAX_WORKERS)
    return AllocationCode(np.eye(n, dtype=np.uint8), name=f"uncoded({n})", num_byzantine=0)


def deterministic(num_workers: int, num_byzantine: int) -> AllocationCode:
    """Return the paper's deterministic code, perfect against any ``num_byzantine`` workers.

    Args:
        num_workers: n, odd, 1..4095.
        num_byzantine: b, 0..floor(n / 2). At the ends are the uncoded vote (b = 0) and the code in which every worker
            computes everything (b = floor(n / 2)).

    Returns:
        A code of n partitions. Its row weights are 1 (s rows), 2b + 1 (L rows) and n (the rest), all odd, where
        s = (n - 1) / 2 - b and L = floor((n - (2b + 1)) / (2 (b + 1))) + 1.

    Raises:
        ValueError: n is even (s would not be an integer, and the vote could tie), or b is out of range.

    Source: the paper, Algorithm 1; its redundancy is equation (5).
    """
    n = integer("deterministic", "num_workers", num_workers, 1, MAX_WORKERS)
    if n % 2 == 0:
        raise ValueError(
            f"deterministic: num_workers must be odd for Algorithm 1, got {n}; "
            "plan(num_workers, num_byzantine) makes codes for even numbers"
        )
    b = integer("deterministic", "num_byzantine", num_byzantine, 0, n // 2)
    s = (n - 1) // 2 - b
    overlapping = (n - (2 * b + 1)) // (2 * (b + 1)) + 1
    matrix = np.zeros((n, n), dtype=np.uint8)
    matrix[:s, :s] = np.eye(s, dtype=np.uint8)
    for row in range(overlapping):
        start = s + row * (b + 1)
        matrix[s + row, start : start + 2 * b + 1] = 1
    matrix[s + overlapping :] = 1
    return AllocationCode(matrix, name=f"deterministic({n}, {b})", num_byzantine=b)


def bernoulli(
    num_workers: int,
    redundancy: float | None = None,
    connection_probability: float | None = None,
    num_partitions: int | None = None,
    seed: int = 0,
    *,
    allow_empty: bool = False,
) -> AllocationCode:
    """Return a random code: every entry of G is 1 with probability p, independently.

    Args:
        num_workers: n, 1..4095.
        redundancy, connection_probability: exactly one of them: E[r] = p k, in (0, k], or p itself, in (0, 1].
        num_partitions: k, 1..4095; None: n.
        seed: 0..2**64 - 1. The same arguments and seed give the same code on every machine.
        allow_empty: whether workers may be left without partitions, as in the authors' Amazon experiments. False
            rejects draws with an idle worker, as in their CIFAR-10 experiments, so the mean redundancy exceeds the one
            requested.

    Returns:
        A code whose rows may have even weight, so that a worker's vote may tie; the tie policy of the vote decides.

    Raises:
        ValueError: both or neither of redundancy and connection_probability are given, or an argument is out of range.

    The authors redraw the whole matrix until no row is empty. Rows are independent, so redrawing only the empty ones
    gives the same distribution, and it ends where redrawing everything practically never would (n = 200, E[r] = 1:
    one draw in 10^40 has no empty row).

    Source: the paper, section 3.2 (Bernoulli codes).
    """
    n = integer("bernoulli", "num_workers", num_workers, 1, MAX_WORKERS)
    k = n if num_partitions is None else integer("bernoulli", "num_partitions", num_partitions, 1, MAX_PARTITIONS)
    seed = integer("bernoulli", "seed", seed, 0, 2**64 - 1)
    if (redundancy is None) == (connection_probability is None):
        raise ValueError(
            "bernoulli: exactly one of redundancy and connection_probability must be given, "
            f"got redundancy={redundancy!r} and connection_probability={connection_probability!r}"
        )
    if redundancy is not None:
        p = number("bernoulli", "redundancy", redundancy, 0, k, "(]") / k
    else:
        p = number("bernoulli", "connection_probability", connection_probability, 0, 1, "(]")

    # Raw words of the bit generator: NumPy promises their stream, but not that of Generator.random.
    words = np.random.PCG64(seed)
    threshold = math.ldexp(p, 53)

    def draw(rows: int) -> NDArray[np.uint8]:
        uniform = (words.random_raw(rows * k) >> np.uint64(11)).astype(np.float64)
        return (uniform < threshold).astype(np.uint8).reshape(rows, k)

    matrix = draw(n)
    while not allow_empty and (empty := np.flatnonzero(~matrix.any(axis=1))).size:
        matrix[empty] = draw(empty.size)
    return AllocationCode(matrix, name=f"bernoulli({n}, E[r]={p * k:.4g}, seed={seed})")


def repetition(num_workers: int, num_partitions: int) -> AllocationCode:
    """Return the code with ``num_workers // num_partitions`` workers per partition and one partition per worker.

    Args:
        num_workers: n, 1..4095.
        num_partitions: k, 1..n. The last n - k (n // k) workers stay idle.

    Returns:
        A code whose worker i < k (n // k) computes partition i // (n // k). For odd k and no idle workers it tolerates
        every b with 2b + 1 <= n / k, and claims the largest.

    Source: the repetition scheme of DRACO (Chen et al., ICML 2018), with the paper's Remark 2 (k != n).
    """
    n = integer("repetition", "num_workers", num_workers, 1, MAX_WORKERS)
    k = integer("repetition", "num_partitions", num_partitions, 1, n)
    copies = n // k
    matrix = np.zeros((n, k), dtype=np.uint8)
    matrix[np.arange(copies * k), np.arange(copies * k) // copies] = 1
    claimed = (copies - 1) // 2 if k % 2 and copies * k == n else None
    return AllocationCode(matrix, name=f"repetition({n}, {k})", num_byzantine=claimed)


def cyclic(num_workers: int, load: int) -> AllocationCode:
    """Return the code in which worker i computes the partitions i, i + 1, ..., i + load - 1 modulo n.

    Args:
        num_workers: n, 1..4095; also the number of partitions.
        load: partitions per worker, 1..n.

    Source: the assignment of cyclic gradient coding (Tandon et al., ICML 2017).
    """
    n = integer("cyclic", "num_workers", num_workers, 1, MAX_WORKERS)
    load = integer("cyclic", "load", load, 1, n)
    offsets = (np.arange(n)[None, :] - np.arange(n)[:, None]) % n
    return AllocationCode((offsets < load).astype(np.uint8), name=f"cyclic({n}, {load})")
