"""Allocation codes: which worker computes which data partition.

Every scheme here is the triple of Sohn, Han, Choi and Moon (NeurIPS 2020, section 2): an allocation
matrix, a majority vote at each worker over its partitions, a majority vote over the workers. The two
votes are fixed, so a code is its allocation matrix.
"""

from __future__ import annotations

import json
import math
import os
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_WORKERS = 4095
MAX_PARTITIONS = 4095

_FORMAT = "electioncode.AllocationCode"
_VERSION = 1


def _integer(function: str, argument: str, value: Any, low: int, high: int) -> int:
    """``value`` as an int in ``low .. high``, or an error that says what was expected."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        kind = type(value).__name__
        raise TypeError(f"{function}: {argument} must be an integer in {low}..{high}, got {kind} {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{function}: {argument} must be in {low}..{high}, got {value}")
    return int(value)


class AllocationCode:
    """An allocation matrix G: entry (i, j) is 1 where worker i computes partition j.

    Parameters
    ----------
    allocation : array_like, shape (num_workers, num_partitions)
        Entries 0 and 1, of any integer or boolean dtype. A row without ones is an idle worker.
    name : str
        What to call it in tables and files.
    num_byzantine : int or None
        The number of Byzantine workers the code is claimed to tolerate; None where nothing is claimed.
        `electioncode.tolerance` computes the exact number.

    Attributes
    ----------
    allocation : ndarray, shape (num_workers, num_partitions), dtype uint8, read-only
    num_workers, num_partitions : int
        n and k of the paper (the paper has k = n; its Remark 2 allows others). 1..4095 each.
    num_byzantine : int or None
    name : str

    Raises
    ------
    ValueError
        If the matrix is not two-dimensional, is empty, is too large, or holds anything but 0 and 1.
    """

    __slots__ = ("_allocation", "_name", "_num_byzantine")

    def __init__(self, allocation: ArrayLike, *, name: str = "custom", num_byzantine: int | None = None):
        raw = np.asarray(allocation)
        if raw.ndim != 2:
            raise ValueError(
                "AllocationCode: allocation must have two dimensions (num_workers, num_partitions), "
                f"got shape {raw.shape}"
            )
        n, k = raw.shape
        if not (1 <= n <= MAX_WORKERS and 1 <= k <= MAX_PARTITIONS):
            raise ValueError(
                f"AllocationCode: allocation must have 1..{MAX_WORKERS} rows (workers) and "
                f"1..{MAX_PARTITIONS} columns (partitions), got shape {raw.shape}"
            )
        if raw.dtype.kind not in "biuf" or not np.isin(raw, (0, 1)).all():
            raise ValueError("AllocationCode: allocation must hold only 0 and 1")
        if num_byzantine is not None:
            num_byzantine = _integer("AllocationCode", "num_byzantine", num_byzantine, 0, n)
        matrix = np.array(raw, dtype=np.uint8, order="C")
        matrix.flags.writeable = False
        self._allocation = matrix
        self._name = str(name)
        self._num_byzantine = num_byzantine

    @property
    def allocation(self) -> NDArray[np.uint8]:
        return self._allocation

    @property
    def name(self) -> str:
        return self._name

    @property
    def num_byzantine(self) -> int | None:
        return self._num_byzantine

    @property
    def num_workers(self) -> int:
        return int(self._allocation.shape[0])

    @property
    def num_partitions(self) -> int:
        return int(self._allocation.shape[1])

    @property
    def num_ones(self) -> int:
        """Number of (worker, partition) pairs, ||G||_0 of the paper."""
        return int(self._allocation.sum(dtype=np.int64))

    @property
    def redundancy(self) -> float:
        """Mean number of partitions a worker computes, r = ||G||_0 / n (the paper, section 2)."""
        return self.num_ones / self.num_workers

    @property
    def exact_redundancy(self) -> Fraction:
        """`redundancy` as an exact fraction."""
        return Fraction(self.num_ones, self.num_workers)

    @property
    def max_load(self) -> int:
        """Largest number of partitions that one worker computes; divided by k, its share of the batch."""
        return int(self._allocation.sum(axis=1, dtype=np.int64).max())

    def partitions(self, worker: int) -> tuple[int, ...]:
        """The partitions that ``worker`` computes, ascending: ``np.flatnonzero(allocation[worker])``."""
        worker = _integer("AllocationCode.partitions", "worker", worker, 0, self.num_workers - 1)
        return tuple(int(j) for j in np.flatnonzero(self._allocation[worker]))

    def workers(self, partition: int) -> tuple[int, ...]:
        """The workers that compute ``partition``, ascending: ``np.flatnonzero(allocation[:, partition])``."""
        partition = _integer("AllocationCode.workers", "partition", partition, 0, self.num_partitions - 1)
        return tuple(int(i) for i in np.flatnonzero(self._allocation[:, partition]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the code as JSON: one string of 0 and 1 a worker, and what is claimed of it."""
        record = {
            "format": _FORMAT,
            "version": _VERSION,
            "name": self.name,
            "num_workers": self.num_workers,
            "num_partitions": self.num_partitions,
            "num_byzantine": self.num_byzantine,
            "rows": ["".join(map(str, row)) for row in self._allocation.tolist()],
        }
        with open(path, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)
            file.write("\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AllocationCode:
        """Read what `save` wrote.

        Raises ValueError that names the file and the field where it is not such a file.
        """
        with open(path, encoding="utf-8") as file:
            try:
                record = json.load(file)
            except ValueError as error:
                raise ValueError(f"AllocationCode.load: {os.fspath(path)!r} is not JSON: {error}") from error
        return cls._from_record(record, os.fspath(path))

    @classmethod
    def _from_record(cls, record: Any, source: str) -> AllocationCode:
        def refuse(expected: str, got: object) -> ValueError:
            return ValueError(f"AllocationCode.load: {source!r} must have {expected}, got {got!r}")

        if not isinstance(record, dict):
            raise refuse("a JSON object at its top", type(record).__name__)
        if record.get("format") != _FORMAT:
            raise refuse(f"format {_FORMAT!r}", record.get("format"))
        if record.get("version") != _VERSION:
            raise refuse(f"version {_VERSION}", record.get("version"))
        rows = record.get("rows")
        if not isinstance(rows, list) or not rows or not all(isinstance(row, str) for row in rows):
            raise refuse("rows, a list of strings of 0 and 1", rows)
        if len({len(row) for row in rows}) != 1 or not rows[0] or set("".join(rows)) - {"0", "1"}:
            raise refuse("rows of one length, each of the characters 0 and 1", sorted({len(r) for r in rows}))
        shape = (record.get("num_workers"), record.get("num_partitions"))
        if shape != (len(rows), len(rows[0])):
            raise refuse(f"num_workers and num_partitions {(len(rows), len(rows[0]))}, as rows says", shape)
        name = record.get("name")
        if not isinstance(name, str):
            raise refuse("name, a string", name)
        claimed = record.get("num_byzantine")
        if claimed is not None and (isinstance(claimed, bool) or not isinstance(claimed, int)):
            raise refuse("num_byzantine, an integer or null", claimed)
        matrix = np.array([[int(bit) for bit in row] for row in rows], dtype=np.uint8)
        return cls(matrix, name=name, num_byzantine=claimed)

    def __eq__(self, other: object) -> bool:
        """Equal allocation matrices; the name and the claim do not count."""
        if not isinstance(other, AllocationCode):
            return NotImplemented
        return np.array_equal(self._allocation, other._allocation)

    def __hash__(self) -> int:
        return hash((self._allocation.shape, self._allocation.tobytes()))

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (np.array(self._allocation), self._name, self._num_byzantine))

    def __repr__(self) -> str:
        return (
            f"AllocationCode({self.name!r}, num_workers={self.num_workers}, "
            f"num_partitions={self.num_partitions}, num_byzantine={self.num_byzantine}, "
            f"redundancy={self.redundancy:.4g}, max_load={self.max_load})"
        )


def _rebuild(matrix: NDArray[np.uint8], name: str, num_byzantine: int | None) -> AllocationCode:
    return AllocationCode(matrix, name=name, num_byzantine=num_byzantine)


def uncoded(num_workers: int) -> AllocationCode:
    """Each worker computes its own partition: plain SignSGD with majority vote.

    Returns the code with ``allocation = np.eye(num_workers)``. It tolerates no Byzantine worker: where
    the votes stand (n + 1) / 2 to (n - 1) / 2, one liar turns the result.

    Source: Bernstein et al. (ICLR 2019); the paper, section 2 (G = I_n).
    """
    n = _integer("uncoded", "num_workers", num_workers, 1, MAX_WORKERS)
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
    n = _integer("deterministic", "num_workers", num_workers, 1, MAX_WORKERS)
    if n % 2 == 0:
        raise ValueError(
            f"deterministic: num_workers must be odd for Algorithm 1, got {n}; "
            "plan(num_workers, num_byzantine) makes codes for even numbers"
        )
    b = _integer("deterministic", "num_byzantine", num_byzantine, 0, n // 2)
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
    n = _integer("bernoulli", "num_workers", num_workers, 1, MAX_WORKERS)
    k = n if num_partitions is None else num_partitions
    k = _integer("bernoulli", "num_partitions", k, 1, MAX_PARTITIONS)
    seed = _integer("bernoulli", "seed", seed, 0, 2**64 - 1)
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
    n = _integer("repetition", "num_workers", num_workers, 1, MAX_WORKERS)
    k = _integer("repetition", "num_partitions", num_partitions, 1, n)
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
    n = _integer("cyclic", "num_workers", num_workers, 1, MAX_WORKERS)
    load = _integer("cyclic", "load", load, 1, n)
    offsets = (np.arange(n)[None, :] - np.arange(n)[:, None]) % n
    return AllocationCode((offsets < load).astype(np.uint8), name=f"cyclic({n}, {load})")
