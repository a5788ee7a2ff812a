"""Read the table of the best codes found for up to 31 workers, 7 of them Byzantine; it is shipped with the package."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np

from electioncode.codes import AllocationCode
from electioncode.core import choice, integer
from electioncode.robustness.planning import packing

MAX_WORKERS, MAX_BYZANTINE = 31, 7
KINDS = ("max_load", "redundancy")


@lru_cache(maxsize=1)
def data() -> dict[str, Any]:
    """Return the parsed table; an empty one where the file is missing, as it is while being made."""
    file = resources.files("electioncode.robustness.planning") / "best_codes.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"packings": {}, "loads": {}}


def known_packing(s: int, b: int) -> list[int] | None:
    """Return the sets of the table's packing for s and b (see `packing`), or None."""
    found = data()["packings"].get(f"{s},{b}")
    return None if found is None else list(found)


def best_known(num_workers: int, num_byzantine: int, kind: str = "max_load") -> AllocationCode:
    """Return the best code found for n workers and tolerance b, as certified by `electioncode.tolerance`.

    Args:
        num_workers, num_byzantine: n in 3..31 and b in 1..7 with 2b + 1 <= n.
        kind: "max_load": the smallest share of the batch for the busiest worker, with any number of partitions and idle
            workers allowed. "redundancy": the fewest ones with as many partitions as workers and nobody idle, which is
            the setting of the paper's Algorithm 1.

    Returns:
        A code for tie policy "plus"; with an odd number of partitions, for every policy.

    Raises:
        TypeError, ValueError: an argument is not as above.
        LookupError: the table has no such entry.
    """
    n = integer("best_known", "num_workers", num_workers, 3, MAX_WORKERS)
    b = integer("best_known", "num_byzantine", num_byzantine, 1, min(MAX_BYZANTINE, (n - 1) // 2))
    choice("best_known", "kind", kind, KINDS)
    if kind == "redundancy":
        s, _ = packing.packing_size(n, n, b)
        sets = known_packing(s, b) if s else []  # with n = 2b + 1 every row is full
        if sets is None:
            raise LookupError(f"best_known: the table has no packing for s={s}, b={b}")
        return packing.code_from_sets(n, n, b, sets, f"best({n}, {b}, redundancy)")
    rows = data()["loads"].get(f"{n},{b}")
    if rows is None:
        raise LookupError(f"best_known: the table has no code for num_workers={n}, num_byzantine={b}")
    busy = [[int(bit) for bit in row] for count, row in rows for _ in range(count)]
    matrix = np.zeros((n, len(busy[0])), dtype=np.uint8)
    matrix[: len(busy)] = busy
    return AllocationCode(matrix, name=f"best({n}, {b}, max_load)", num_byzantine=b)
