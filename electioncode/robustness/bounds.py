"""Evaluate the published bounds.

"The paper" is Sohn, Han, Choi and Moon, "Election Coding for Distributed Learning" (NeurIPS 2020). All logarithms are
natural. Probabilities and rates are returned as the formula gives them: a value above 1 means that the bound says
nothing. These bounds hold in probability; `electioncode.tolerance` computes what holds exactly for a given code.

Unless stated otherwise, real arguments are positive and finite, numbers of workers go up to 10^9, and every function
raises a TypeError or ValueError that names the argument and its limits.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from electioncode.core import integer, number

_LARGEST_N = 10**9


def _liars(function: str, alpha: Any) -> float:
    return number(function, "alpha", alpha, 0, Fraction(1, 2), "[)")


def batch_snr(gradient_snr: float, batch_size: int) -> float:
    """Return S = sqrt(B) |g| / sigma, the signal-to-noise ratio of a mean over ``batch_size`` points.

    ``gradient_snr`` is |g| / sigma of one point; the batch has 1..2**53 points. Source: the paper, Definition 1.
    """
    snr = number("batch_snr", "gradient_snr", gradient_snr, 0)
    return math.sqrt(integer("batch_snr", "batch_size", batch_size, 1, 2**53)) * snr


# --- Bernoulli codes: the paper, section 3.2 ---------------------------------------------------------------


def lemma1_connection_probability(num_workers: int, c: float = 1.0) -> float:
    """Return p* = 2 sqrt(C log n / n), the connection probability from which on Lemma 1 holds, for n >= 2.

    Where it exceeds 1 (n <= 8 at C = 1), no Bernoulli code satisfies the lemma. Source: the paper, Lemma 1.
    """
    n = integer("lemma1_connection_probability", "num_workers", num_workers, 2, _LARGEST_N)
    return 2 * math.sqrt(number("lemma1_connection_probability", "c", c, 0) * math.log(n) / n)


def lemma1_local_error(num_workers: int, snr: float, c: float = 1.0) -> float:
    """Return q* = 2 max(2 / n^(2C), exp(-sqrt(C n log n) S^2 / (2 (S^2 + 4)))), for n >= 2.

    It bounds the probability that an honest worker's vote differs from the sign of the true gradient, for p >= p*.
    ``snr`` is S of `batch_snr`, not the ratio of a single point. Source: the paper, Lemma 1.
    """
    n = integer("lemma1_local_error", "num_workers", num_workers, 2, _LARGEST_N)
    c = number("lemma1_local_error", "c", c, 0)
    s2 = number("lemma1_local_error", "snr", snr, 0) ** 2
    # Divided through by S^2, so that S^2 may overflow to infinity.
    signal = 1 / (2 * (1 + 4 / s2)) if s2 > 0 else 0.0
    return 2 * max(2 * n ** (-2 * c), math.exp(-math.sqrt(c * n * math.log(n)) * signal))


def theorem1_right_side(num_workers: int, local_error: float, delta: float) -> float:
    """Return (sqrt(l) + sqrt(l + 4 u))^2 / (8 u^2) with l = log(Delta) / n and u = 1 - local_error.

    Theorem 1: where 1 - alpha exceeds it, the decoded sign is wrong with probability < 1 / Delta. The result is inf
    where local_error >= 1 (the bound says nothing). ``delta`` > 2. Source: the paper, equation (3).
    """
    n = integer("theorem1_right_side", "num_workers", num_workers, 1, _LARGEST_N)
    delta = number("theorem1_right_side", "delta", delta, 2)
    u = 1 - local_error
    if u <= 0:
        return math.inf
    rate = math.log(delta) / n
    return (math.sqrt(rate) + math.sqrt(rate + 4 * u)) ** 2 / (8 * u * u)


def theorem1_holds(num_workers: int, alpha: float, snr: float, delta: float, c: float = 1.0) -> bool:
    """Return whether Theorem 1 guarantees P(decoded sign wrong) < 1 / Delta with a fraction alpha of liars.

    It needs equation (3) with the local error of Lemma 1, and a connection probability p* of at most 1; alpha is in
    [0, 1/2). The theorem treats the honest votes as independent although they share partitions;
    `electioncode.failure_rate` measures what a given code does.
    """
    return 1 - _liars("theorem1_holds", alpha) > _theorem1(num_workers, snr, delta, c)


def theorem1_largest_fraction(num_workers: int, snr: float, delta: float, c: float = 1.0) -> float:
    """Return the supremum of the fractions alpha that Theorem 1 admits; 0.0 if it admits none.

    The condition is strict, so alpha must stay below the returned value.
    """
    return min(max(0.0, 1 - _theorem1(num_workers, snr, delta, c)), 0.5)


def _theorem1(num_workers: int, snr: float, delta: float, c: float) -> float:
    """Return the right side of equation (3); inf where no Bernoulli code has the connection probability p*."""
    if lemma1_connection_probability(num_workers, c) > 1:
        return math.inf
    return theorem1_right_side(num_workers, lemma1_local_error(num_workers, snr, c), delta)


def theorem1_smallest_num_workers(
    alpha: float, snr: float, delta: float, c: float = 1.0, *, limit: int = 100_000
) -> int:
    """Find the smallest n from 2 to ``limit`` that satisfies `theorem1_holds`; raise ValueError if none does."""
    for n in range(2, integer("theorem1_smallest_num_workers", "limit", limit, 2, _LARGEST_N) + 1):
        if theorem1_holds(n, alpha, snr, delta, c):
            return n
    raise ValueError(
        f"theorem1_smallest_num_workers: no num_workers up to {limit} satisfies Theorem 1 for "
        f"alpha={alpha}, snr={snr}, delta={delta}, c={c}"
    )


def _gap(function: str, initial_gap: float, smoothness_l1: float, steps: int) -> float:
    gap = number(function, "initial_gap", initial_gap, 0)
    smoothness = number(function, "smoothness_l1", smoothness_l1, 0)
    return gap / (smoothness * integer(function, "steps", steps, 1, 2**53))


def theorem2_learning_rate(initial_gap: float, smoothness_l1: float, steps: int) -> float:
    """Return gamma(T) = sqrt((f(w_0) - f*) / (||L||_1 T)). Source: the paper, Theorem 2."""
    return math.sqrt(_gap("theorem2_learning_rate", initial_gap, smoothness_l1, steps))


def theorem2_bound(initial_gap: float, smoothness_l1: float, steps: int, delta: float) -> float:
    """Return 3 ||L||_1 gamma(T) / (2 (1 - 2 / Delta)), a bound on the mean over T steps of E ||g(w_t)||_1.

    ``delta`` > 2 is that of Theorem 1. Source: the paper, Theorem 2.
    """
    delta = number("theorem2_bound", "delta", delta, 2)
    gamma = math.sqrt(_gap("theorem2_bound", initial_gap, smoothness_l1, steps))
    return 3 * smoothness_l1 * gamma / (2 * (1 - 2 / delta))


# --- deterministic codes -----------------------------------------------------------------------------------


def theorem3_redundancy(num_workers: int, num_byzantine: int) -> Fraction:
    """Return the redundancy of Algorithm 1, exactly, for odd n and 0 <= b <= floor(n / 2).

    (n + 2b + 1) / 2 - (floor((n - 2b - 1) / (2 (b + 1))) + 1/2) (n - 2b - 1) / n.
    Equal to ``deterministic(n, b).exact_redundancy``. Source: the paper, Theorem 3, equation (5).
    """
    n = integer("theorem3_redundancy", "num_workers", num_workers, 1, _LARGEST_N)
    if n % 2 == 0:
        raise ValueError(f"theorem3_redundancy: num_workers must be odd, got {n}")
    b = integer("theorem3_redundancy", "num_byzantine", num_byzantine, 0, n // 2)
    rest = n - (2 * b + 1)
    return Fraction(n + 2 * b + 1, 2) - (rest // (2 * (b + 1)) + Fraction(1, 2)) * Fraction(rest, n)


def smallest_copies(num_byzantine: int) -> int:
    """Return 2b + 1, the least number of workers that must compute each partition of a code that tolerates b.

    Take a sign vector with a majority of one vote and turn one of the votes that made it. The true majority turns, so
    the sum of the workers' honest votes must go from at least 2b on one side of the decision to at least 2b + 1 on
    the other: a change of more than 4b. Only workers that hold the turned partition change, each by at most 2. Hence
    ||G||_0 >= (2b + 1) k and r >= (2b + 1) k / n, and the largest load is at least ceil((2b + 1) k / n), whatever the
    row weights and k. One exception: with ties broken at random and k even, a tied true majority has no right side,
    so it takes two turned votes, and only every two partitions together need 2b + 1 workers.
    (DRACO, Chen et al., ICML 2018, needs the same 2b + 1 for exact recovery of gradients.)
    """
    return 2 * integer("smallest_copies", "num_byzantine", num_byzantine, 0, _LARGEST_N) + 1


# --- sign votes without a code -----------------------------------------------------------------------------


def gauss_sign_error(snr: float) -> float:
    """Bound P(sign of a noisy gradient is wrong) for unimodal symmetric noise at signal-to-noise ratio S >= 0.

    At most 2 / (9 S^2) where S > 2 / sqrt(3), else 1/2 - S / (2 sqrt(3)).
    Source: Gauss's inequality; Bernstein et al., signSGD (ICML 2018), Lemma D.1.
    """
    s = number("gauss_sign_error", "snr", snr, 0, math.inf, "[]")
    return 2 / (9 * s * s) if s > 2 / math.sqrt(3) else 0.5 - s / (2 * math.sqrt(3))


def chebyshev_sign_error(snr: float) -> float:
    """Return min(1/2, 1 / (2 S^2)), the same bound for symmetric noise of finite variance, unimodal or not.

    Source: Akoun and Meyer, "SignSGD: Fault-Tolerance to Blind and Byzantine Adversaries" (2022), Lemma 1bis.
    The factor 1/2 needs symmetry: without it Chebyshev gives 1 / S^2.
    """
    s = number("chebyshev_sign_error", "snr", snr, 0)
    return min(0.5, 1 / (2 * s * s))


def majority_vote_bound(
    initial_gap: float, smoothness_l1: float, noise_l1: float, num_workers: int, num_gradients: int
) -> float:
    """Bound ((1 / K) sum E ||g_k||_1)^2 for signSGD with majority vote and no liars.

    (1 / sqrt(N)) (sqrt(||L||_1) (f_0 - f* + 1/2) + 2 ||sigma||_1 / sqrt(M))^2, with M workers, N gradients
    per worker in all, K = sqrt(N) steps of batch K at learning rate 1 / sqrt(||L||_1 K). ``noise_l1`` may be 0.
    Source: Bernstein et al., signSGD (ICML 2018), Theorem 2.
    """
    gap, smoothness, noise, root = _signum("majority_vote_bound", initial_gap, smoothness_l1, noise_l1, num_gradients)
    workers = integer("majority_vote_bound", "num_workers", num_workers, 1, _LARGEST_N)
    return (math.sqrt(smoothness) * (gap + 0.5) + 2 * noise / math.sqrt(workers)) ** 2 / root


def small_batch_bound(initial_gap: float, smoothness_l1: float, num_gradients: int) -> float:
    """Return 3 sqrt(||L||_1 (f_0 - f*) / N), a bound for signSGD with batch 1.

    It bounds the mean over the steps of the sum of |g_i| over the coordinates with S_i > 2 / sqrt(3) and of
    g_i^2 / sigma_i over the others. Source: Bernstein et al. (ICLR 2019), Theorem 1.
    """
    gap, smoothness, _, root = _signum("small_batch_bound", initial_gap, smoothness_l1, 0, num_gradients)
    return 3 * math.sqrt(smoothness * gap) / root


def blind_adversary_bound(
    initial_gap: float, smoothness_l1: float, noise_l1: float, num_workers: int, num_gradients: int, alpha: float
) -> float:
    """Bound ((1 / K) sum E ||g_k||_1)^2 with a fraction alpha < 1/2 of blind multiplicative adversaries.

    (4 / sqrt(N)) (||sigma||_1 / ((1 - 2 alpha) sqrt(M)) + sqrt(||L||_1 (f_0 - f*)))^2, N = K^2.
    Source: Bernstein et al. (ICLR 2019), Theorem 2.
    """
    who = "blind_adversary_bound"
    margin = 1 - 2 * _liars(who, alpha)
    return _adversary_bound(who, margin, num_workers, initial_gap, smoothness_l1, noise_l1, num_gradients)


def byzantine_adversary_bound(
    initial_gap: float,
    smoothness_l1: float,
    noise_l1: float,
    num_workers: int,
    num_gradients: int,
    alpha: float,
    sign_accuracy: float,
) -> float:
    """Bound the same for colluding, omniscient adversaries; ``sign_accuracy`` p = P(an honest sign is right).

    (4 / sqrt(N)) (||sigma||_1 / (2 sqrt(2) (p (1 - alpha) - 1/2) sqrt(M)) + sqrt(||L||_1 (f_0 - f*)))^2.
    Raises ValueError unless p is in (1/2, 1] and alpha < 1 - 1 / (2p). Source: Akoun and Meyer (2022), Theorem 2bis.
    """
    who = "byzantine_adversary_bound"
    alpha = _liars(who, alpha)
    p = number(who, "sign_accuracy", sign_accuracy, Fraction(1, 2), 1, "(]")
    if not alpha < 1 - 1 / (2 * p):
        raise ValueError(f"{who}: alpha must be below 1 - 1 / (2 p) = {1 - 1 / (2 * p):.6g}, got {alpha}")
    margin = 2 * math.sqrt(2) * (p * (1 - alpha) - 0.5)
    return _adversary_bound(who, margin, num_workers, initial_gap, smoothness_l1, noise_l1, num_gradients)


def cantelli_failure(num_workers: int, alpha: float, sign_accuracy: float) -> float:
    """Return 1 / (1 + (E - M/2)^2 / Var) for the Z ~ Bin((1 - alpha) M, p) right votes of the honest workers.

    It bounds the probability that a coordinate's vote is wrong under a fraction alpha of liars; 1.0 where
    E <= M/2. ``sign_accuracy`` is p in [0, 1]. Source: Akoun and Meyer (2022), proof of Theorem 2bis.
    """
    m = integer("cantelli_failure", "num_workers", num_workers, 1, _LARGEST_N)
    honest = (1 - _liars("cantelli_failure", alpha)) * m
    p = number("cantelli_failure", "sign_accuracy", sign_accuracy, 0, 1, "[]")
    lead = honest * p - m / 2
    if lead <= 0:
        return 1.0
    variance = honest * p * (1 - p)
    return variance / (variance + lead * lead)


def _signum(
    function: str, initial_gap: float, smoothness_l1: float, noise_l1: float, num_gradients: int
) -> tuple[float, float, float, float]:
    """Check what the rates of signSGD share; return f_0 - f*, ||L||_1, ||sigma||_1 and sqrt(N)."""
    return (
        number(function, "initial_gap", initial_gap, 0),
        number(function, "smoothness_l1", smoothness_l1, 0),
        number(function, "noise_l1", noise_l1, 0, math.inf, "[]"),
        math.sqrt(integer(function, "num_gradients", num_gradients, 1, 2**62)),
    )


def _adversary_bound(function: str, margin: float, num_workers: int, *rates: Any) -> float:
    gap, smoothness, noise, root = _signum(function, *rates)
    workers = integer(function, "num_workers", num_workers, 1, _LARGEST_N)
    return 4 * (noise / (margin * math.sqrt(workers)) + math.sqrt(smoothness * gap)) ** 2 / root
