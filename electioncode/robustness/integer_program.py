"""Find the least margin of a code by an integer program (SciPy's HiGHS).

Identical columns become one integer variable and identical rows one weighted binary, so the programs of structured
codes stay small whatever n and k are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Margins are integers; HiGHS proves its bound in floating point, to about 1e-6 of the objective.
_SLACK = 1e-4


@dataclass(frozen=True)
class MarginBounds:
    """A margin, proven to be at least ``least``, and signs ``(k,)`` int8 that reach ``reached``."""

    least: int
    reached: int
    signs: NDArray[np.int8]

    @property
    def exact(self) -> bool:
        return self.least == self.reached


def milp_solver() -> Any:
    """Return SciPy's solver; raise ImportError that says what to install if SciPy is missing."""
    try:
        from scipy.optimize import milp  # type: ignore[import-untyped]
    except ImportError as error:
        message = "electioncode: integer programs need SciPy: pip install 'electioncode[plan]'"
        raise ImportError(message, name="scipy") from error
    return milp


def honest_votes(allocation: NDArray[Any], signs: NDArray[Any], tie: int) -> NDArray[np.int64]:
    """Return the honest messages ``(..., n)`` of sign vectors ``(..., k)``; a local tie counts as ``tie`` (-1, 0 or 1).

    Equals ``np.where(s == 0, tie, np.sign(s))`` with ``s = signs @ allocation.T``, and 0 for a worker without
    partitions: it has nothing to say. (If it voted +1 as in a tie, every idle worker would cost tolerance.)
    """
    sums = signs.astype(np.int64) @ allocation.T.astype(np.int64)
    return np.where(sums == 0, np.where(allocation.any(axis=1), tie, 0), np.sign(sums))


def descents(
    rows: NDArray[Any], weights: NDArray[np.int64], pluses: int, tie: int, starts: int, seed: int
) -> Iterator[tuple[int, NDArray[np.int8]]]:
    """Yield small margins and their signs ``(k,)``, one per random start; they prove nothing.

    Each comes from a steepest descent over swaps of one plus and one minus. ``rows`` ``(u, k)`` are the code's distinct
    rows and ``weights`` ``(u,)`` how often each occurs.
    """
    k = rows.shape[1]
    rng = np.random.default_rng(seed)
    for _ in range(starts):
        signs = -np.ones(k, dtype=np.int64)
        signs[rng.permutation(k)[:pluses]] = 1
        value = int(honest_votes(rows, signs, tie) @ weights)
        # One minus at a time, so that memory stays at k * u.
        improved = True
        while improved:
            improved = False
            for up in rng.permutation(np.flatnonzero(signs < 0)):
                down = np.flatnonzero(signs > 0)
                if not down.size:
                    break
                sums = rows @ signs + 2 * (rows[:, up] - rows[:, down].T)
                margins = np.where(sums == 0, tie, np.sign(sums)) @ weights
                at = int(margins.argmin())
                if margins[at] < value:
                    value, improved = int(margins[at]), True
                    signs[down[at]], signs[up] = -1, 1
        yield value, signs.astype(np.int8)


def least_margin(
    allocation: NDArray[np.uint8], pluses: int, tie: int, time_limit: float | None = None, low_enough: int | None = None
) -> MarginBounds:
    """Find the least sum of the honest votes over all sign vectors with ``pluses`` entries +1.

    Args:
        allocation: ``(n, k)`` uint8 without empty rows.
        pluses: 0..k.
        tie: what a locally tied worker counts as: -1, 0 or 1.
        time_limit: seconds; None: no limit. If it ends the search, the two ends of the result differ.
        low_enough: stop without a proof once a quick search finds a margin of at most this; None: never.
    """
    all_rows, all_weights = np.unique(allocation, axis=0, return_counts=True)
    starts = descents(all_rows.astype(np.int64), all_weights, pluses, tie, starts=4, seed=0)
    reached, signs = min(starts, key=lambda start: start[0])
    if low_enough is not None and reached <= low_enough:
        return MarginBounds(-allocation.shape[0], reached, signs)
    milp = milp_solver()
    from scipy.optimize import Bounds, LinearConstraint  # type: ignore[import-untyped]
    from scipy.sparse import csr_array, hstack, vstack  # type: ignore[import-untyped]

    k = allocation.shape[1]
    columns, column_of, copies = np.unique(allocation, axis=1, return_inverse=True, return_counts=True)
    rows, weights = np.unique(columns, axis=0, return_counts=True)
    loads = rows.astype(np.int64) @ copies

    # A row's vote is -1 plus a step of height 1 or 2 at each threshold that its pluses reach.
    above, half = loads // 2 + 1, (loads + 1) // 2
    steps = [(above, 2)] if tie < 0 else [(half, 2)] if tie > 0 else [(half, 1), (above, 1)]
    thresholds, heights = np.array([step[0] for step in steps]), np.array([[step[1]] for step in steps])
    always = loads - (k - pluses) >= thresholds
    never = np.minimum(loads, pluses) < thresholds
    constant = int((always * heights * weights).sum() - weights.sum())
    which, row = np.nonzero(~(always | never))
    threshold, load, total = thresholds[which, row], loads[row], len(row)
    # The pluses that a row holds are at most (threshold - 1) + (load - threshold + 1) x, with x = 1 for a step taken.
    slope = csr_array(np.diag(-(load - threshold + 1.0)).reshape(total, total))
    matrix = hstack([csr_array(rows[row].astype(float)), slope]) if total else csr_array((0, len(copies)))
    layer = csr_array(np.concatenate([np.ones(len(copies)), np.zeros(total)])[None, :])
    result = milp(
        np.concatenate([np.zeros(len(copies)), heights[which, 0] * weights[row]]),
        integrality=np.ones(len(copies) + total),
        bounds=Bounds(0, np.concatenate([copies, np.ones(total)])),
        constraints=LinearConstraint(
            vstack([matrix, layer]).tocsr(),
            np.concatenate([np.full(total, -np.inf), [pluses]]),
            np.concatenate([threshold - 1, [pluses]]),
        ),
        options={"mip_rel_gap": 0.0} | ({} if time_limit is None else {"time_limit": max(time_limit, 0.01)}),
    )

    # The margin is recounted from the solver's signs; only the bound is taken on trust.
    if result.x is not None:
        count = np.rint(result.x[: columns.shape[1]]).astype(np.int64)
        found = -np.ones(k, dtype=np.int8)
        for group, number in enumerate(count):
            found[np.flatnonzero(column_of.ravel() == group)[:number]] = 1
        if int((found > 0).sum()) != pluses:
            raise RuntimeError("electioncode: the integer program returned a vector outside its constraints")
        margin = int(honest_votes(allocation, found, tie).sum())
        if margin <= reached:
            reached, signs = margin, found
    bound = result.mip_dual_bound
    least = -int(allocation.shape[0])
    if bound is not None and math.isfinite(bound):
        least = max(least, constant + math.ceil(bound - _SLACK))
    return MarginBounds(min(least, reached), reached, signs)
