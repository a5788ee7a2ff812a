"""Allocation codes: which worker computes which data partition.

A scheme of Sohn, Han, Choi and Moon (NeurIPS 2020, section 2; "the paper" below) consists of an allocation matrix, a
majority vote by each worker over its partitions, and a majority vote over the workers. The two votes are fixed, so
the matrix alone is the code.
"""

from __future__ import annotations

import json
import os
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from electioncode.core import integer

MAX_WORKERS = 4095
MAX_PARTITIONS = 4095

_FORMAT = "electioncode.AllocationCode"
_VERSION = 1


class AllocationCode:
    """An allocation matrix G: entry (i, j) is 1 where worker i computes partition j.

    Codes are immutable, picklable and hashable. They are equal where their matrices are: names and claims do not count.

    Args:
        allocation: ``(num_workers, num_partitions)`` array-like of zeros and ones, of any integer, floating-point or
            boolean dtype. A row without ones is an idle worker.
        name: what to call the code in tables and files.
        num_byzantine: the number of Byzantine workers that the code is claimed to tolerate; None: no claim.
            `electioncode.tolerance` computes the exact number.

    Attributes:
        allocation: ``(num_workers, num_partitions)`` uint8, read-only.
        num_workers, num_partitions: n and k in the paper, 1..4095 each (the paper has k = n; its Remark 2 allows
            others).
        name, num_byzantine: as given.

    Raises:
        ValueError: the matrix is not two-dimensional, is empty or too large, or holds anything but 0 and 1; or
            num_byzantine is not in 0..n.
    """

    __slots__ = ("_allocation", "_name", "_num_byzantine")

    def __init__(self, allocation: ArrayLike, *, name: str = "custom", num_byzantine: int | None = None):
        raw = np.asarray(allocation)
        if raw.ndim != 2:
            expected = "two dimensions (num_workers, num_partitions)"
            raise ValueError(f"AllocationCode: allocation must have {expected}, got shape {raw.shape}")
        n, k = raw.shape
        if not (1 <= n <= MAX_WORKERS and 1 <= k <= MAX_PARTITIONS):
            raise ValueError(
                f"AllocationCode: allocation must have 1..{MAX_WORKERS} rows (workers) and "
                f"1..{MAX_PARTITIONS} columns (partitions), got shape {raw.shape}"
            )
        if raw.dtype.kind not in "biuf" or not np.isin(raw, (0, 1)).all():
            raise ValueError("AllocationCode: allocation must hold only 0 and 1")
        if num_byzantine is not None:
            num_byzantine = integer("AllocationCode", "num_byzantine", num_byzantine, 0, n)
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
        """Count the (worker, partition) pairs: ||G||_0 in the paper."""
        return int(self._allocation.sum(dtype=np.int64))

    @property
    def redundancy(self) -> float:
        """Return the mean number of partitions per worker, r = ||G||_0 / n (the paper, section 2)."""
        return self.num_ones / self.num_workers

    @property
    def exact_redundancy(self) -> Fraction:
        """Return `redundancy` as an exact fraction."""
        return Fraction(self.num_ones, self.num_workers)

    @property
    def max_load(self) -> int:
        """Return the largest number of partitions that one worker computes; divided by k, its share of the batch."""
        return int(self._allocation.sum(axis=1, dtype=np.int64).max())

    def partitions(self, worker: int) -> tuple[int, ...]:
        """Return the partitions that a worker computes, ascending: ``np.flatnonzero(allocation[worker])``."""
        worker = integer("AllocationCode.partitions", "worker", worker, 0, self.num_workers - 1)
        return tuple(np.flatnonzero(self._allocation[worker]).tolist())

    def workers(self, partition: int) -> tuple[int, ...]:
        """Return the workers that compute a partition, ascending: ``np.flatnonzero(allocation[:, partition])``."""
        partition = integer("AllocationCode.workers", "partition", partition, 0, self.num_partitions - 1)
        return tuple(np.flatnonzero(self._allocation[:, partition]).tolist())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the code as JSON: one string of zeros and ones per worker, its name and its claim."""
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
        """Read a code that `save` wrote; anything else raises a ValueError that names the file and the field."""
        with open(path, encoding="utf-8") as file:
            try:
                record = json.load(file)
            except ValueError as error:
                raise ValueError(f"AllocationCode.load: {os.fspath(path)!r} is not JSON: {error}") from error

        def refuse(expected: str, got: object) -> ValueError:
            return ValueError(f"AllocationCode.load: {os.fspath(path)!r} must have {expected}, got {got!r}")

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
        if shape != (size := (len(rows), len(rows[0]))):
            raise refuse(f"num_workers and num_partitions {size}, as in rows", shape)
        name = record.get("name")
        if not isinstance(name, str):
            raise refuse("name, a string", name)
        claimed = record.get("num_byzantine")
        if claimed is not None and (isinstance(claimed, bool) or not isinstance(claimed, int)):
            raise refuse("num_byzantine, an integer or null", claimed)
        matrix = np.array([[int(bit) for bit in row] for row in rows], dtype=np.uint8)
        return cls(matrix, name=name, num_byzantine=claimed)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AllocationCode):
            return NotImplemented
        return np.array_equal(self._allocation, other._allocation)

    def __hash__(self) -> int:
        return hash((self._allocation.shape, self._allocation.tobytes()))

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(AllocationCode, name=self._name, num_byzantine=self._num_byzantine), (self._allocation,)

    def __repr__(self) -> str:
        return (
            f"AllocationCode({self.name!r}, num_workers={self.num_workers}, "
            f"num_partitions={self.num_partitions}, num_byzantine={self.num_byzantine}, "
            f"redundancy={self.redundancy:.4g}, max_load={self.max_load})"
        )
