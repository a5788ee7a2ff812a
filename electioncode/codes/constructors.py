"""The codes of the paper and its neighbours: uncoded, deterministic, Bernoulli, repetition, cyclic."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from electioncode.codes.allocation import MAX_PARTITIONS, MAX_WORKERS, AllocationCode
from electioncode.core import integer


def uncoded(num_workers: int) -> AllocationCode:
    """Each worker computes its own partition: plain SignSGD with majority vote.

    Returns the code with ``allocation = np.eye(num_workers)``. It tolerates no Byzantine worker: where
    the votes stand (n + 1) / 2 to (n - 1) / 2, one liar turns the result.

    Source: Bernstein et al. (ICLR 2019); the paper, section 2 (G = I_n).
    """
    n = integer("uncoded", "num_workers", num_workers, 1, MAX_WORKERS)
    return AllocationCode(np.eye(n, dtype=np.uint8), name=f"uncoded({n})", num_byzantine=0)


def deterministic(num_workers: int, num_byzantine: int) -> AllocationCode:
    """The paper's deterministic code: perfect against any ``num_byzantine`` workers.

    Parameters
    ----------
    num_workers : int
        n, odd, 1..4095.
    num_byzantine : int
        b, 0..floor(n / 2). The ends are the uncoded vote (b = 0) and every worker computing
        everything (b = floor(n / 2)).

    Returns
    -------
    AllocationCode
        n partitions; row weights 1 (s rows), 2b + 1 (L rows) and n (the rest), all odd, where
        s = (n - 1) / 2 - b and L = floor((n - (2b + 1)) / (2 (b + 1))) + 1.

    Raises
    ------
    ValueError
        If n is even (s would be no integer and the vote could tie) or b is outside its range.

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
    """A random code: every entry of G is 1 with probability p, independently.

    Parameters
    ----------
    num_workers : int
        n, 1..4095.
    redundancy, connection_probability : float
        Exactly one of them: E[r] = p k, in (0, k], or p itself, in (0, 1].
    num_partitions : int
        k; n where not given.
    seed : int
        0..2**64 - 1. The same arguments and seed give the same code on every machine.
    allow_empty : bool
        False: draws with a worker that computes nothing are rejected, as in the authors' CIFAR-10
        experiments, so that the mean redundancy comes out above the one asked for. True: idle workers
        stay, as in their Amazon experiments.

    Returns
    -------
    AllocationCode
        Rows may be even, so a worker's vote may tie; the tie policy of the vote decides then.

    Raises
    ------
    ValueError
        If both or none of ``redundancy`` and ``connection_probability`` are given, or one is out of range.

    Notes
    -----
    The authors redraw the whole matrix until no row is empty. Rows are independent, so redrawing only the
    empty ones has exactly the same distribution; it also ends where the whole matrix practically never
    comes without an empty row (n = 200, E[r] = 1: once in 10^40 draws).

    Source: the paper, section 3.2 (Bernoulli codes).
    """
    n = integer("bernoulli", "num_workers", num_workers, 1, MAX_WORKERS)
    k = n if num_partitions is None else num_partitions
    k = integer("bernoulli", "num_partitions", k, 1, MAX_PARTITIONS)
    seed = integer("bernoulli", "seed", seed, 0, 2**64 - 1)
    if (redundancy is None) == (connection_probability is None):
        raise ValueError(
            "bernoulli: exactly one of redundancy and connection_probability must be given, "
            f"got redundancy={redundancy!r} and connection_probability={connection_probability!r}"
        )
    if redundancy is not None:
        if not 0 < redundancy <= k:
            raise ValueError(
                f"bernoulli: redundancy must be in (0, {k}] (num_partitions), got {redundancy!r}"
            )
        p = float(redundancy) / k
    else:
        assert connection_probability is not None
        if not 0 < connection_probability <= 1:
            raise ValueError(
                f"bernoulli: connection_probability must be in (0, 1], got {connection_probability!r}"
            )
        p = float(connection_probability)

    # Raw words of the bit generator, because NumPy promises their stream and not that of Generator.random.
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
    """``num_workers // num_partitions`` workers for each partition, one partition for each worker.

    Parameters
    ----------
    num_workers : int
        n, 1..4095.
    num_partitions : int
        k, 1..n. The n - k (n // k) workers left over stay idle (empty rows, the last ones).

    Returns
    -------
    AllocationCode
        Worker i < k (n // k) computes partition i // (n // k). For odd k without idle workers it tolerates
        b as long as 2b + 1 <= n / k, and claims it.

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
    """Worker i computes the partitions i, i + 1, ..., i + load - 1 modulo n.

    Parameters
    ----------
    num_workers : int
        n, 1..4095; also the number of partitions.
    load : int
        Partitions a worker computes, 1..n.

    Source: the assignment of cyclic gradient coding (Tandon et al., ICML 2017).
    """
    n = integer("cyclic", "num_workers", num_workers, 1, MAX_WORKERS)
    load = integer("cyclic", "load", load, 1, n)
    offsets = (np.arange(n)[None, :] - np.arange(n)[:, None]) % n
    return AllocationCode((offsets < load).astype(np.uint8), name=f"cyclic({n}, {load})")
