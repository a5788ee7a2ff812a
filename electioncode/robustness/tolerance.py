"""Certify how many Byzantine workers a code tolerates, exactly, with a proof in both directions.

Let h_i(m) be the honest message of worker i for the partitions' signs m, and H(m) = sum_i h_i(m). Replacing b messages
moves the sum by at most 2b, and by exactly 2b as long as b workers vote for the right side. So a code tolerates b
exactly if H keeps this distance from the decision on both sides of the true majority. H is monotone in every m_j: its
least value where the true majority is +1 is reached on the layer of sign vectors with the fewest +1 that still win, and
its greatest value where it is -1 on the opposite layer. Turning all signs maps the second problem to the first with the
tie policy turned. What is left is one problem, the least H on one layer, solved by trying all its vectors on packed
words (`enumeration`) or as an integer program (`integer_program`). For odd rows and odd k this is Lemma 2 of the paper.
"""

from __future__ import annotations

import importlib.util
import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from electioncode.codes import AllocationCode
from electioncode.core import TIE as TIES
from electioncode.core import choice, number
from electioncode.robustness import enumeration, integer_program
from electioncode.robustness.integer_program import MarginBounds, honest_votes
from electioncode.votes import reference

METHODS = ("auto", "exhaustive", "ilp")
# The most partitions to enumerate (27 take under a second), with the integer program to take over and without SciPy.
_COUNTABLE, _COUNTABLE_ALONE = 27, 33


@dataclass(frozen=True)
class Witness:
    """A vote in which ``len(attackers)`` Byzantine workers turn the result.

    Attributes:
        signs: ``(k,)`` int8: the honest signs of the partitions, +1 or -1.
        attackers: the Byzantine workers.
        honest, messages: ``(n,)`` int8 each: what every worker would send if honest, and what is sent; equal except at
            the attackers. 0 abstains. With tie "random", honest is one possible outcome of the workers' tie bits.
        truth, decoded: the true majority of signs and the majority of messages; different. With tie "random", decoded
            is one possible outcome of the decoder's tie bit.
    """

    signs: NDArray[np.int8]
    attackers: tuple[int, ...]
    honest: NDArray[np.int8]
    messages: NDArray[np.int8]
    truth: int
    decoded: int


@dataclass(frozen=True)
class Tolerance:
    """The answer of `tolerance`.

    Attributes:
        num_byzantine: a proven lower bound: no set of this many Byzantine workers can change the result. -1: the result
            is wrong for some signs even if everyone is honest.
        upper: a proven upper bound; equal to num_byzantine where the answer is exact.
        witness: ``upper + 1`` attackers that turn the result, as decoded by `electioncode.reference`.
        method: "exhaustive" (all sign vectors of the deciding layers) or "ilp".
        tie: the tie policy.
        seconds: wall-clock time.
    """

    num_byzantine: int
    upper: int
    witness: Witness
    method: str
    tie: str
    seconds: float

    @property
    def exact(self) -> bool:
        return self.num_byzantine == self.upper


@dataclass(frozen=True)
class Side:
    """One part of the question: sign vectors with ``pluses`` entries +1 have a result that must not turn.

    ``truth`` is that result. For -1, vectors and votes are those of the problem with all signs turned, so that margins
    always count for the true result. ``tie`` is the vote of a locally tied worker, ``reserve`` the least sum for which
    the decoder gives the true result.
    """

    truth: int
    pluses: int
    tie: int
    reserve: int

    def tolerates(self, margin: int) -> int:
        """Return the largest b that a least honest margin withstands; -1 if not even 0."""
        if self.truth == 0:  # the sum must be exactly 0 and the layer is its own mirror image
            return 0 if margin >= 0 else -1
        return max((margin - self.reserve) // 2, -1)


def deciding_sides(num_partitions: int, tie: str) -> list[Side]:
    """Return the layers of sign vectors that decide, given how the tie policy defines true majority and decoding."""
    k = num_partitions
    clear, half = k // 2 + 1, (k + 1) // 2
    if tie == "plus":
        return [Side(1, half, 1, 0), Side(-1, clear, -1, 1)]
    if tie == "minus":
        return [Side(1, clear, -1, 1), Side(-1, half, 1, 0)]
    worst = -1 if tie == "random" else 0
    tied = [Side(0, half, 0, 0)] if tie == "abstain" and k % 2 == 0 else []
    return [*tied, Side(1, clear, worst, 1), Side(-1, clear, worst, 1)]


def tolerance(
    code: AllocationCode, tie: str = "plus", *, time_limit: float | None = 60.0, method: str = "auto"
) -> Tolerance:
    """Find the largest number of Byzantine workers that cannot change the result, with a witness for one more.

    A code tolerates b if for every sign vector of the partitions, every set of b workers and everything that they may
    send (+1, -1 or nothing), the majority of the messages equals the true majority of the signs. The tie policy
    decides what that means where votes tie:

    * "plus", "minus": true majority, honest workers and decoder break ties to that side. All 2^k sign vectors count;
      with k even, the true majority of a tied sign vector is that side.
    * "abstain": all three abstain where they tie, and the decoder must abstain where the true majority does. With k
      even, a single liar turns a tied vote into a result, so such codes tolerate 0 at most.
    * "random": every outcome of every tie bit must be right. A tied sign vector (k even) has no true majority and does
      not count; a tied decoder is wrong, because one of its outcomes is.

    A worker without partitions abstains under every policy.

    Args:
        code: any n and k, rows of any weight.
        tie: "plus", "minus", "random" or "abstain".
        time_limit: seconds, above 0, for all integer programs together; None: no limit. The exhaustive method ignores
            it.
        method: "exhaustive", "ilp" (needs SciPy, extra ``plan``) or "auto": exhaustive up to k = 27 (33 without SciPy).

    Returns:
        The exact answer, or ``num_byzantine < upper``, both proven, if the time limit ends the search.

    Raises:
        TypeError, ValueError: an argument is not as above.
        ImportError: the integer program is needed and SciPy is missing.
    """
    if not isinstance(code, AllocationCode):
        raise TypeError(f"tolerance: code must be an AllocationCode, got {type(code).__name__}")
    choice("tolerance", "tie", tie, TIES)
    choice("tolerance", "method", method, METHODS)
    if time_limit is not None:
        number("tolerance", "time_limit", time_limit, 0, math.inf, "(]")
    started = time.perf_counter()
    k = code.num_partitions
    if method == "auto":
        alone = importlib.util.find_spec("scipy") is None
        method = "exhaustive" if k <= (_COUNTABLE_ALONE if alone else _COUNTABLE) else "ilp"
    busy = code.allocation[code.allocation.any(axis=1)]
    sides = deciding_sides(k, tie)
    if k % 2 and (busy.sum(axis=1) % 2 == 1).all():
        # Nothing ties locally, so the sides are mirror images, and the one with the larger reserve decides.
        sides = [max(sides, key=lambda side: side.reserve)]

    lower, upper, decisive = code.num_workers, code.num_workers + 1, None
    for side in sides:
        left = None if time_limit is None else time_limit - (time.perf_counter() - started)
        bounds = _least_margin(busy, side, method, left)
        lower = min(lower, side.tolerates(bounds.least))
        if side.tolerates(bounds.reached) < upper:
            upper, decisive = side.tolerates(bounds.reached), (side, bounds.signs)
        if upper == -1:
            break
    assert decisive is not None
    side, signs = decisive
    witness = _witness(code, tie, -signs if side.truth < 0 else signs, side.truth, upper + 1)
    return Tolerance(min(lower, upper), upper, witness, method, tie, time.perf_counter() - started)


def _least_margin(busy: NDArray[np.uint8], side: Side, method: str, time_limit: float | None) -> MarginBounds:
    if not busy.size:
        return MarginBounds(0, 0, np.where(np.arange(busy.shape[1]) < side.pluses, 1, -1).astype(np.int8))
    if method == "ilp":
        # Any margin below the reserve gives the answer -1.
        return integer_program.least_margin(busy, side.pluses, side.tie, time_limit, side.reserve - 1)
    value, signs = enumeration.least_margin(busy, side.pluses, side.tie)
    return MarginBounds(value, value, signs)


def _witness(code: AllocationCode, tie: str, signs: NDArray[np.int8], truth: int, size: int) -> Witness:
    """Return ``size`` attackers that turn ``truth``, checked with the reference decoder."""
    # With random ties every outcome counts, so the witness assumes the one against the truth.
    local = {"plus": 1, "minus": -1, "abstain": 0, "random": -truth}[tie]
    honest = honest_votes(code.allocation, signs, local).astype(np.int8)
    # Turning a vote for the truth is worth 2, turning an abstention 1; anyone can turn a tied vector.
    order = np.argsort(-honest * truth, kind="stable")
    attackers = tuple(sorted(int(i) for i in order[:size]))
    messages = honest.copy()
    for i in attackers:
        messages[i] = -truth if truth else -honest[i] or -1
    outcome = {"random": "minus" if truth > 0 else "plus"}.get(tie, tie)
    decoded = _decode(messages, outcome)
    if _decode(signs, outcome) != truth or decoded == truth:
        raise RuntimeError("tolerance: the reference decoder contradicts the witness; please report this code")
    return Witness(signs, attackers, honest, messages, truth, decoded)


def _decode(votes: NDArray[np.int8], tie: str) -> int:
    """Return the majority of +1, -1 and 0 (abstained) by `electioncode.reference`."""
    words = reference.to_words(votes[:, None] > 0)
    masks = reference.to_words(votes[:, None] != 0)
    winner, mask = reference.majority(list(words), 1, tie, list(masks))
    return int(reference.unpack(winner, 1, mask, np.int8)[0])
