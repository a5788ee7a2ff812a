"""How many Byzantine workers a code tolerates, exactly, with a proof in both directions.

Let h_i(m) be the honest message of worker i for the partitions' signs m, and H(m) = sum_i h_i(m). Replacing
b messages moves the sum by at most 2b, and by exactly that as long as b workers vote for the right side. A
code therefore tolerates b exactly if H keeps this distance from the decision on both sides of the true
majority. H is monotone in every m_j, so its least value where the true majority is +1 is reached on the
layer of sign vectors with the fewest +1 that still win, and its greatest value where it is -1 on the
opposite layer. Turning all signs maps the second problem to the first with the tie policy turned. What is
left is one problem, the least H on one layer: by trying all its vectors on packed words
(`electioncode.enumeration`), or as an integer program (`electioncode.integer_program`). For odd rows and
odd k this is Lemma 2 of the paper.
"""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from electioncode.codes import AllocationCode
from electioncode.robustness import enumeration, integer_program
from electioncode.robustness.integer_program import MarginBounds, honest_votes
from electioncode.votes import reference

TIES = ("plus", "minus", "random", "abstain")
METHODS = ("auto", "exhaustive", "ilp")
# Beyond k = 27 partitions (under a second) the integer program takes over; without SciPy, beyond 33.
_COUNTABLE, _COUNTABLE_ALONE = 27, 33


@dataclass(frozen=True)
class Witness:
    """A vote in which ``len(attackers)`` Byzantine workers turn the result.

    Attributes
    ----------
    signs : ndarray, shape (k,), int8
        Honest signs of the partitions, +1 or -1.
    attackers : tuple of int
        The Byzantine workers.
    honest, messages : ndarray, shape (n,), int8
        What every worker would send if honest, and what is sent: equal outside ``attackers``. 0 abstains.
        With tie "random", ``honest`` is one possible outcome of the workers' tie bits.
    truth, decoded : int
        The true majority of ``signs`` and the majority of ``messages``; different. With tie "random",
        ``decoded`` is one possible outcome of the decoder's tie bit.
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

    Attributes
    ----------
    num_byzantine : int
        Proven: any this many Byzantine workers cannot change the result. -1: it is wrong for some signs even
        with none.
    upper : int
        The code does not tolerate more; equal to ``num_byzantine`` where the answer is exact.
    witness : Witness
        ``upper + 1`` attackers that turn the result, as decoded by `electioncode.reference`.
    method : str
        "exhaustive" (all sign vectors of the deciding layers) or "ilp".
    tie : str
    seconds : float
        Wall-clock time.
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

    @property
    def lower(self) -> int:
        return self.num_byzantine


@dataclass(frozen=True)
class _Side:
    """One part of the question: sign vectors with ``pluses`` entries +1 have a result that must not turn.

    ``truth`` is that result. For -1 the vectors and votes are those of the problem with all signs turned, so
    that margins always count for the true result. ``tie`` is the vote of a locally tied worker, ``reserve``
    the least sum with which the decoder gives the true result.
    """

    truth: int
    pluses: int
    tie: int
    reserve: int

    def tolerates(self, margin: int) -> int:
        """Largest b that a least honest margin withstands; -1 if not even 0."""
        if self.truth == 0:  # the sum must be exactly 0 and the layer is its own mirror image
            return 0 if margin >= 0 else -1
        return max((margin - self.reserve) // 2, -1)


def deciding_sides(num_partitions: int, tie: str) -> list[_Side]:
    """The layers of sign vectors that decide, as the tie policy defines true majority and decoding."""
    k = num_partitions
    clear, half = k // 2 + 1, (k + 1) // 2
    if tie == "plus":
        return [_Side(1, half, 1, 0), _Side(-1, clear, -1, 1)]
    if tie == "minus":
        return [_Side(1, clear, -1, 1), _Side(-1, half, 1, 0)]
    worst = -1 if tie == "random" else 0
    tied = [_Side(0, half, 0, 0)] if tie == "abstain" and k % 2 == 0 else []
    return [*tied, _Side(1, clear, worst, 1), _Side(-1, clear, worst, 1)]


def _check_arguments(code: AllocationCode, tie: str, method: str, time_limit: float | None) -> None:
    if not isinstance(code, AllocationCode):
        raise TypeError(f"tolerance: code must be an AllocationCode, got {type(code).__name__}")
    if tie not in TIES:
        raise ValueError(f"tolerance: tie must be one of {', '.join(map(repr, TIES))}, got {tie!r}")
    if method not in METHODS:
        raise ValueError(f"tolerance: method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    if time_limit is not None and not time_limit > 0:
        raise ValueError(f"tolerance: time_limit must be > 0 seconds or None, got {time_limit!r}")


def tolerance(
    code: AllocationCode, tie: str = "plus", *, time_limit: float | None = 60.0, method: str = "auto"
) -> Tolerance:
    """The largest number of Byzantine workers that cannot change the result, with a witness for one more.

    A code tolerates b if for every sign vector of the partitions, every set of b workers and everything that
    they may send (+1, -1 or nothing), the majority of the messages equals the true majority of the signs.
    What that means where votes tie:

    * "plus", "minus": true majority, honest workers and decoder break ties to that side. All 2^k sign vectors
      count; with k even a tied sign vector has the policy's side as its true majority.
    * "abstain": they abstain where they tie, and the decoder must then abstain as well. With k even a single
      liar turns a tied vote into a result, so such codes tolerate 0 at most.
    * "random": every outcome of every tie bit must be right. A tied sign vector (k even) has no true majority
      and does not count; a tied decoder is wrong, because one of its outcomes is.

    A worker without partitions abstains under every policy.

    Parameters
    ----------
    code : AllocationCode
        Any n and k, rows of any weight.
    tie : str
        "plus", "minus", "random" or "abstain".
    time_limit : float or None
        Seconds for the integer programs together; None for no limit. The exhaustive method ignores it.
    method : str
        "auto": exhaustive up to k = 27, else the integer program (SciPy, extra ``plan``).

    Returns
    -------
    Tolerance
        Where the time limit ends the search, ``num_byzantine < upper`` and both are proven.
    """
    _check_arguments(code, tie, method, time_limit)
    started = time.perf_counter()
    k = code.num_partitions
    if method == "auto":
        alone = importlib.util.find_spec("scipy") is None
        method = "exhaustive" if k <= (_COUNTABLE_ALONE if alone else _COUNTABLE) else "ilp"
    busy = code.allocation[code.allocation.any(axis=1)]
    sides = deciding_sides(k, tie)
    if k % 2 and (busy.sum(axis=1) % 2 == 1).all():
        # Nothing ties locally, so the sides are mirror images: the one with the larger reserve decides.
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


def _least_margin(busy: NDArray[np.uint8], side: _Side, method: str, time_limit: float | None) -> MarginBounds:
    if not busy.size:
        return MarginBounds(0, 0, np.where(np.arange(busy.shape[1]) < side.pluses, 1, -1).astype(np.int8))
    if method == "ilp":
        # Below the reserve the answer is -1, however far below.
        return integer_program.least_margin(busy, side.pluses, side.tie, time_limit, side.reserve - 1)
    value, signs = enumeration.least_margin(busy, side.pluses, side.tie)
    return MarginBounds(value, value, signs)


def _witness(code: AllocationCode, tie: str, signs: NDArray[np.int8], truth: int, size: int) -> Witness:
    """``size`` attackers that turn ``truth``, checked with the reference decoder."""
    # With random ties every outcome counts, so the witness takes the one against the truth.
    local = {"plus": 1, "minus": -1, "abstain": 0, "random": -truth}[tie]
    honest = honest_votes(code.allocation, signs, local).astype(np.int8)
    # A vote for the truth is worth 2 to an attacker, an abstention 1; a tied vector falls to anyone.
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
    """Majority of +1, -1 and 0 (abstained) by `electioncode.reference`."""
    words = reference.to_words(votes[:, None] > 0)
    masks = reference.to_words(votes[:, None] != 0)
    winner, mask = reference.majority(list(words), 1, tie, list(masks))
    return int(reference.unpack(winner, 1, mask, np.int8)[0])
