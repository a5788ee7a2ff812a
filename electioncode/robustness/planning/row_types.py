"""Solve small codes to proven optimality by an integer program over how often each possible row occurs.

For odd k, rows of odd weight suffice, unless ties abstain. Take any code that tolerates b and remove one partition from
each of its rows of even weight. On the side where local ties count against the truth, a row of weight 2a votes right
only with a + 1 right signs or more, and then the smaller row has at least a of its 2a - 1: no vote there gets worse.
With odd rows both sides are mirror images, so the other side holds too. The smaller code has lighter rows and tolerates
b under every tie policy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from electioncode.robustness import enumeration, integer_program
from electioncode.robustness.integer_program import honest_votes
from electioncode.robustness.tolerance import deciding_sides

MAX_PARTITIONS = 9


@dataclass(frozen=True)
class Solution:
    """A ``matrix`` ``(n, k)`` uint8 or None; ``proven``: it is optimal, or with None, there is no code."""

    matrix: NDArray[np.uint8] | None
    proven: bool


def _row_types(k: int, cap: int, tie: str, only_cap: bool) -> NDArray[np.uint8]:
    numbers = np.arange(1, 1 << k, dtype=np.uint32)
    rows = (numbers[:, None] >> np.arange(k, dtype=np.uint32) & 1).astype(np.uint8)
    weights = rows.sum(axis=1)
    keep = weights <= cap
    if k % 2 and tie != "abstain":
        keep &= weights % 2 == 1
    if only_cap:
        keep &= weights == weights[keep].max()
    return rows[keep]


def _layer(k: int, pluses: int) -> NDArray[np.int64]:
    numbers = enumeration.patterns(k, pluses).astype(np.int64)
    return 2 * (numbers[:, None] >> np.arange(k) & 1) - 1


def lightest(
    num_workers: int,
    num_byzantine: int,
    num_partitions: int,
    cap: int,
    tie: str = "plus",
    *,
    time_limit: float = 20.0,
    only_cap: bool = False,
    allow_idle: bool = True,
) -> Solution:
    """Find the code with the fewest ones among those of this size with loads up to ``cap`` that tolerate b.

    Args:
        num_workers, num_byzantine, num_partitions: n, b and k.
        cap: the most partitions that a worker may hold.
        tie: the tie policy that the code must hold for.
        time_limit: seconds.
        only_cap: use only rows of the largest weight (or idle ones), which makes larger k possible and proves nothing.
        allow_idle: whether workers may be left without partitions.

    The variables are the numbers of workers with each row; the rest idle. There is one constraint per sign vector of
    the deciding layers, and columns are in order of falling weight, because partitions can be renamed.
    """
    milp = integer_program.milp_solver()
    from scipy.optimize import Bounds, LinearConstraint  # type: ignore[import-untyped]

    n, k = num_workers, num_partitions
    rows = _row_types(k, cap, tie, only_cap)
    weights = rows.sum(axis=1, dtype=np.int64)
    sides = deciding_sides(k, tie)
    if any(side.truth == 0 for side in sides) and num_byzantine > 0:
        return Solution(None, True)
    if k % 2:
        sides = [max(sides, key=lambda side: side.reserve)]
    constraints = [LinearConstraint(np.ones((1, len(rows))), 0 if allow_idle else n, n)]
    for side in sides:
        votes = honest_votes(rows, _layer(k, side.pluses), side.tie)
        least = 2 * num_byzantine + side.reserve if side.truth else 0
        constraints.append(LinearConstraint(votes.astype(float), least, np.inf))
    falling = rows[:, :-1].astype(float) - rows[:, 1:].astype(float)
    constraints.append(LinearConstraint(falling.T, 0, np.inf))
    result = milp(
        weights.astype(float),
        integrality=np.ones(len(rows)),
        bounds=Bounds(0, n),
        constraints=constraints,
        options={"time_limit": time_limit, "mip_rel_gap": 0.0},
    )
    if result.x is None:
        return Solution(None, not only_cap and result.status == 2)
    matrix = np.repeat(rows, np.rint(result.x).astype(np.int64), axis=0)
    order = np.lexsort((*matrix.T[::-1], matrix.sum(axis=1)))
    idle = np.zeros((n - len(matrix), k), dtype=np.uint8)
    return Solution(np.vstack([matrix[order], idle]).astype(np.uint8), not only_cap and result.status == 0)
