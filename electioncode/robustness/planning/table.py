"""The table of the best codes found for up to 31 workers and 7 Byzantine ones, shipped with the package."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np

from electioncode.codes import AllocationCode
from electioncode.core import integer
from electioncode.robustness.planning import packing

MAX_WORKERS, MAX_BYZANTINE = 31, 7


@lru_cache(maxsize=1)
def data() -> dict[str, Any]:
    """The parsed table; an empty one where the file is missing, as while it is being made."""
    file = resources.files("electioncode.robustness.planning") / "best_codes.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"packings": {}, "loads": {}}


def known_packing(s: int, b: int) -> list[int] | None:
    """The sets of the table's packing for s and b (see `electioncode.planning.packing`), or None."""
    found = data()["packings"].get(f"{s},{b}")
    return None if found is None else list(found)


def best_known(num_workers: int, num_byzantine: int, kind: str = "max_load") -> AllocationCode:
    """The best code found for n <= 31 workers and 1 <= b <= 7, 2b + 1 <= n, as certified by `tolerance`.

    Parameters
    ----------
    num_workers, num_byzantine : int
    kind : str
        "max_load": the smallest share of the batch for the busiest worker, any number of partitions, idle
        workers allowed. "redundancy": the fewest ones with as many partitions as workers and nobody idle,
        which is the setting of the paper's Algorithm 1.

    Returns
    -------
    AllocationCode
        For tie policy "plus"; with an odd number of partitions for every policy.
    """
    n = integer("best_known", "num_workers", num_workers, 3, MAX_WORKERS)
    b = integer("best_known", "num_byzantine", num_byzantine, 1, min(MAX_BYZANTINE, (n - 1) // 2))
    if kind == "redundancy":
        s, _ = packing.packing_size(n, n, b)
        sets = known_packing(s, b) if s else []  # with n = 2b + 1 every row is full
        if sets is None:
            raise LookupError(f"best_known: the table has no packing for s={s}, b={b}")
        return packing.code_from_sets(n, n, b, sets, f"best({n}, {b}, redundancy)")
    if kind != "max_load":
        raise ValueError(f"best_known: kind must be one of 'max_load', 'redundancy', got {kind!r}")
    rows = data()["loads"].get(f"{n},{b}")
    if rows is None:
        raise LookupError(f"best_known: the table has no code for num_workers={n}, num_byzantine={b}")
    k = len(rows[0][1])
    matrix = np.zeros((n, k), dtype=np.uint8)
    at = 0
    for count, row in rows:
        matrix[at : at + count] = [int(bit) for bit in row]
        at += count
    return AllocationCode(matrix, name=f"best({n}, {b}, max_load)", num_byzantine=b)
