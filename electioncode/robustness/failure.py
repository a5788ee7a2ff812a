"""Measure how often a code fails: by simulating whole elections, one per bit, or exactly by enumeration."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from electioncode.codes import AllocationCode
from electioncode.core import choice, full_mask, integer, number, popcounts
from electioncode.robustness import simulation
from electioncode.robustness.adversaries import check_attackers, worst_placement
from electioncode.robustness.enumeration import layer_blocks
from electioncode.robustness.tolerance import TIES
from electioncode.votes import PackedSigns, majority

_BLOCK = 1 << 18
_PLACEMENT_TRIALS, _SAMPLE_STEP = 1 << 16, 2**32 - 1
_ENUMERABLE = 25
_SETS = 5000
MESSAGES = ("oppose", "reverse", "random")
Attackers = tuple[int, ...] | str


@dataclass(frozen=True)
class Rate:
    """A probability with its confidence interval; low = rate = high and trials = 0 where it is exact."""

    rate: float
    low: float
    high: float
    failures: int
    trials: int


@dataclass(frozen=True)
class FailureRate:
    """The answer of `failure_rate`.

    Attributes:
        majority: P(decoded sign differs from the true majority of the partitions' signs).
        gradient: P(decoded sign differs from the sign of the true gradient); None where no snr was given.
        attackers: who attacked the majority: the workers, or "random" or "any".
        every_set_tried: False where the worst placement comes from a local search, and a worse one may exist.
    """

    majority: Rate
    gradient: Rate | None
    attackers: Attackers
    every_set_tried: bool


def wilson(failures: float, trials: float, confidence: float) -> tuple[float, float]:
    """Return Wilson's score interval for a proportion. Source: Wilson (1927), J. Am. Stat. Assoc. 22."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = failures / trials
    centre = rate + z * z / (2 * trials)
    reach = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # At the ends the two terms are equal, but rounding may leave a small difference.
    low = 0.0 if failures == 0 else max(0.0, (centre - reach) / scale)
    return low, 1.0 if failures == trials else min(1.0, (centre + reach) / scale)


@dataclass(frozen=True)
class _Elections:
    """One setting whose wrong results are counted over blocks of votes; ``right`` is P(a partition's sign is right)."""

    code: AllocationCode
    tie: str
    messages: str
    size: int
    seed: int
    right: float
    against_gradient: bool

    def truth(self, votes: PackedSigns) -> PackedSigns:
        if self.against_gradient:
            return PackedSigns(full_mask(votes.d), votes.d)
        # A random tie has no right side: the mask excludes such trials.
        return majority(votes, "abstain" if self.tie == "random" else self.tie)

    def wrong(self, votes: PackedSigns, step: int, attackers: Attackers) -> NDArray[np.int64]:
        """Count the trials per word, ``(W,)`` in 0..64, whose decoded sign differs from the truth."""
        truth = self.truth(votes)
        honest = simulation.honest_messages(votes, self.code, self.tie, self.seed, step)
        n, count = honest.words.shape
        if attackers == "any":
            return popcounts(self._wrong_for_some_set(honest, truth))
        if attackers == "random":
            selected = simulation.random_sets(n, self.size, count, self.seed, step)
        else:
            assert not isinstance(attackers, str)
            selected = simulation.fixed_set(attackers, n, count)
        if self.messages == "oppose":
            sent = ~truth.words
        elif self.messages == "reverse":
            sent = ~honest.words
        else:
            streams = range(simulation.MESSAGE_STREAM, simulation.MESSAGE_STREAM + n)
            sent = np.stack([simulation.biased_words(0.5, count, self.seed, step, s) for s in streams])
        received = simulation.replace(honest, selected, sent)
        if self.messages == "reverse":  # attackers with nothing to reverse stay silent
            assert honest.mask is not None
            received = PackedSigns(received.words & honest.mask, received.d, honest.mask)
        decoded = majority(received, self.tie, seed=self.seed, step=step)
        differ = decoded.words ^ truth.words
        if self.tie == "abstain":
            differ |= simulation.voted(decoded) ^ simulation.voted(truth)
        elif truth.mask is not None:
            differ &= truth.mask
        return popcounts(differ)

    def votes(self, trials: int, step: int) -> PackedSigns:
        return simulation.random_votes(self.code.num_partitions, trials, self.right, self.seed, step)

    def sampled(self, attackers: Attackers) -> float:
        """Count wrong results on separate trials: a placement chosen on those measured would count its own luck."""
        return float(self.wrong(self._sample, _SAMPLE_STEP, attackers).sum())

    @cached_property
    def _sample(self) -> PackedSigns:
        return self.votes(_PLACEMENT_TRIALS, _SAMPLE_STEP)

    def exact(self, attackers: Attackers) -> float:
        """Return the probability of a wrong result, by enumeration of all sign vectors."""
        k, total = self.code.num_partitions, 0.0
        for pluses in range(k + 1):
            wrong = sum(int(self.wrong(votes, 0, attackers).sum()) for votes, _, _ in layer_blocks(k, pluses))
            total += wrong * self.right**pluses * (1 - self.right) ** (k - pluses)
        return total

    def _wrong_for_some_set(self, honest: PackedSigns, truth: PackedSigns) -> NDArray[np.uint64]:
        """Return words: bit 1 where the worst b workers of the trial turn it; the margin decides, as in `tolerance`."""
        sign = truth.unpack(np.int8).astype(np.int32)
        reserve = np.where(sign == {"plus": 1, "minus": -1}.get(self.tie, 2), 0, 1)
        margin = simulation.margins(honest)
        wrong = np.where(sign == 0, (margin != 0) | (self.size > 0), sign * margin - 2 * self.size < reserve)
        if self.tie == "random":
            wrong &= sign != 0
        return simulation.pack_bits(wrong)


def failure_rate(
    code: AllocationCode,
    num_byzantine: int,
    snr: float | None = None,
    trials: int | None = 1_000_000,
    attackers: str | Sequence[int] = "worst",
    *,
    messages: str = "oppose",
    tie: str = "plus",
    noise: str = "paper",
    seed: int = 0,
    confidence: float = 0.95,
) -> FailureRate:
    """Measure how often b Byzantine workers make the decoded sign wrong.

    Args:
        code: any code.
        num_byzantine: b, 0..n.
        snr: S, in [0, inf], of `electioncode.bounds.batch_snr`: every partition's sign is right independently with the
            probability that ``noise`` gives. None: fair coins.
        trials: elections to simulate, 1..2**40. None: exact, by enumeration of all sign vectors (k <= 25; no random
            ties or messages).
        attackers: "worst": the b workers that do the most harm, the same every time. "random": drawn uniformly, anew
            for every 64 trials. "any": in every trial the b workers that can turn it, if any can. Or b workers.
        messages: "oppose": against the true result, which is the worst they can send. "reverse": the opposite of their
            honest message. "random": fair coins.
        tie: "plus", "minus", "random" or "abstain", for workers and decoder. With "random" and an even number of
            partitions, tied true majorities count as right.
        noise: "paper": 1/2 + S / (2 sqrt(S^2 + 4)), the least that the paper's unimodal symmetric noise allows
            (Lemma 1); "gaussian": Phi(S).
        seed: 0..2**32 - 1; the same arguments give the same result on every machine.
        confidence: of the Wilson intervals, in (0, 1). For random attackers they account for the 64 trials that share
            a draw.

    Returns:
        The rates of wrong majorities and, where snr is given, of wrong gradient signs.

    Raises:
        TypeError, ValueError: an argument is not as above.
    """
    n, k = code.num_workers, code.num_partitions
    b = integer("failure_rate", "num_byzantine", num_byzantine, 0, n)
    seed = integer("failure_rate", "seed", seed, 0, 2**32 - 1)
    choice("failure_rate", "tie", tie, TIES)
    choice("failure_rate", "messages", messages, MESSAGES)
    confidence = number("failure_rate", "confidence", confidence, 0, 1)
    if attackers == "any" and messages != "oppose":
        raise ValueError(f"failure_rate: messages must be 'oppose' for attackers 'any', got {messages!r}")
    if isinstance(attackers, str):
        if attackers not in ("worst", "random", "any"):
            expected = "'worst', 'random', 'any' or a sequence of workers"
            raise ValueError(f"failure_rate: attackers must be {expected}, got {attackers!r}")
    else:
        attackers = check_attackers(attackers, n, "failure_rate")
        if len(attackers) != b:
            raise ValueError(f"failure_rate: attackers must be {b} workers (num_byzantine), got {attackers}")
    if trials is not None:
        trials = integer("failure_rate", "trials", trials, 1, 2**40)
    elif k > _ENUMERABLE or tie == "random" or messages == "random":
        raise ValueError(
            f"failure_rate: trials=None needs at most {_ENUMERABLE} partitions and neither random ties nor "
            f"random messages, got {k} partitions, tie={tie!r}, messages={messages!r}"
        )
    right = 0.5 if snr is None else 1 - simulation.sign_error(snr, noise)

    def measure(against_gradient: bool) -> tuple[Rate, Attackers, bool]:
        elections = _Elections(code, tie, messages, b, seed, right, against_gradient)
        who, exhaustive = attackers, True
        if attackers == "worst":
            placement = worst_placement(n, b, elections.exact if trials is None else elections.sampled)
            who, exhaustive = placement.attackers, placement.exhaustive
        rate = _enumerate(elections, who) if trials is None else _simulate(elections, who, trials, confidence)
        return rate, who, exhaustive

    rate, who, exhaustive = measure(False)
    gradient = None if snr is None else measure(True)[0]
    return FailureRate(rate, gradient, who, exhaustive)


def _simulate(elections: _Elections, attackers: Attackers, trials: int, confidence: float) -> Rate:
    failures, squares, words = 0, 0, 0
    for step, start in enumerate(range(0, trials, _BLOCK)):
        wrong = elections.wrong(elections.votes(min(_BLOCK, trials - start), step), step, attackers)
        failures += int(wrong.sum())
        squares += int((wrong * wrong).sum())
        words += wrong.size
    effective = float(trials)
    if attackers == "random" and 0 < failures < trials and words > 1:
        rate = failures / trials
        spread = squares / words - (failures / words) ** 2
        effective = trials / max(1.0, spread / (64 * rate * (1 - rate)))
    low, high = wilson(failures * effective / trials, effective, confidence)
    return Rate(failures / trials, low, high, failures, trials)


def _enumerate(elections: _Elections, attackers: Attackers) -> Rate:
    if attackers == "random":
        n, b = elections.code.num_workers, elections.size
        if math.comb(n, b) > _SETS:
            raise ValueError(
                f"failure_rate: trials=None with random attackers needs at most {_SETS} sets of workers, "
                f"got {math.comb(n, b)}"
            )
        value = math.fsum(map(elections.exact, itertools.combinations(range(n), b))) / math.comb(n, b)
    else:
        value = elections.exact(attackers)
    return Rate(value, value, value, 0, 0)
