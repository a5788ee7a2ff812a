"""Compute the tolerance of a code by definition, without the package's own search."""

from __future__ import annotations

import numpy as np

from electioncode.codes import AllocationCode


def least_margins(code: AllocationCode) -> tuple[int, int]:
    """Return the least |sum of votes| towards the truth for +1 and for -1 under tie "plus", in plain NumPy."""
    k = code.num_partitions
    signs = 2 * (np.arange(2**k)[:, None] >> np.arange(k) & 1).astype(np.int16) - 1
    sums = signs @ code.allocation.T.astype(np.int16)
    votes = np.where(sums >= 0, 1, -1) * code.allocation.any(axis=1)
    total, truth = votes.sum(axis=1), signs.sum(axis=1) >= 0
    return int(total[truth].min()), int(-total[~truth].max())


def tolerates(code: AllocationCode, b: int) -> bool:
    plus, minus = least_margins(code)
    return plus >= 2 * b and minus >= 2 * b + 1
