"""The published formulas against published and independently computed numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from electioncode import bounds
from electioncode.codes import bernoulli, deterministic

# The remark after Theorem 1: batch 128 and |g| / sigma = 1, so S^2 = 128; Delta = 100, alpha = 0.2, C = 1.
SNR = math.sqrt(128)


def right_side(n, snr=SNR):
    return bounds.theorem1_right_side(n, bounds.lemma1_local_error(n, snr), 100)


def test_batch_snr():
    assert bounds.batch_snr(1, 128) == SNR
    assert bounds.batch_snr(0.5, 4) == 1.0


@pytest.mark.parametrize(("n", "p"), [(5, 1.135), (9, 0.988), (15, 0.850), (40, 0.6074)])
def test_lemma1_connection_probability(n, p):
    assert abs(bounds.lemma1_connection_probability(n) - p) < 6e-4


@pytest.mark.parametrize(("n", "q"), [(40, 0.005541), (50, 0.00227), (100, 0.00040)])
def test_lemma1_local_error(n, q):
    assert abs(bounds.lemma1_local_error(n, SNR) - q) < 6e-6


@pytest.mark.parametrize(
    ("n", "right"),
    [(20, 0.8535), (24, 0.80028), (25, 0.7902), (40, 0.7054), (50, 0.6783), (100, 0.6197), (1000, 0.5351)],
)
def test_theorem1_right_side(n, right):
    assert abs(right_side(n) - right) < 6e-5


def test_theorem1_remark():
    assert [bounds.theorem1_holds(n, 0.2, SNR, 100) for n in (20, 24, 25, 40)] == [False, False, True, True]
    assert bounds.theorem1_smallest_num_workers(0.2, SNR, 100) == 25
    # With the ratio of one point in place of the batch's, n = 40 fails and 108 is the first that passes.
    assert abs(right_side(40, snr=1.0) - 2.08) < 6e-3
    assert bounds.theorem1_smallest_num_workers(0.2, 1.0, 100) == 108


def test_theorem1_largest_fraction_is_the_edge():
    edge = bounds.theorem1_largest_fraction(40, SNR, 100)
    assert abs(edge - (1 - 0.7054)) < 6e-5
    assert bounds.theorem1_holds(40, edge - 1e-9, SNR, 100)
    assert not bounds.theorem1_holds(40, edge + 1e-9, SNR, 100)
    assert bounds.theorem1_largest_fraction(8, 1e6, 100) == 0.0  # p* > 1: no such Bernoulli code


def test_theorem1_says_nothing_where_it_cannot():
    assert bounds.theorem1_right_side(5, 1.0, 3) == math.inf
    with pytest.raises(ValueError, match="no num_workers up to 50"):
        bounds.theorem1_smallest_num_workers(0.49, 1.0, 100, limit=50)
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1/2\), got 0.5"):
        bounds.theorem1_holds(40, 0.5, SNR, 100)
    with pytest.raises(ValueError, match=r"delta must be in \(2, inf\), got 2"):
        bounds.theorem1_right_side(40, 0.1, 2)


def test_lemma1_bounds_what_it_bounds():
    # Votes of the paper's model, worst case: each partition is right with probability 1/2 + eps,
    # 4 eps^2 = S^2 / (S^2 + 4); the measured local error of honest workers must stay below q*.
    n, snr = 40, 3.0
    code = bernoulli(n, connection_probability=bounds.lemma1_connection_probability(n), seed=0)
    eps = 0.5 * math.sqrt(snr**2 / (snr**2 + 4))
    rng = np.random.default_rng(0)
    right = np.where(rng.random((20_000, n)) < 0.5 + eps, 1, -1)
    wrong = (right @ code.allocation.T.astype(np.int64) <= 0).mean(axis=0).max()
    assert wrong < bounds.lemma1_local_error(n, snr)


def test_theorem2():
    gamma = bounds.theorem2_learning_rate(2.0, 8.0, 100)
    assert gamma == pytest.approx(0.05)
    assert bounds.theorem2_bound(2.0, 8.0, 100, 100) == pytest.approx(3 * 8 * 0.05 / (2 * 0.98))


def test_theorem2_bounds_the_descent_it_is_summed_from():
    # gamma (1 - 2/Delta) T x <= gap + gamma^2 L T / 2 for the mean gradient norm x: solve, compare.
    gap, smooth, steps, delta = 1.7, 3.0, 400, 10.0
    gamma = bounds.theorem2_learning_rate(gap, smooth, steps)
    solved = (gap + gamma**2 * smooth * steps / 2) / (gamma * (1 - 2 / delta) * steps)
    assert bounds.theorem2_bound(gap, smooth, steps, delta) == pytest.approx(solved)


def test_theorem3():
    for n in range(1, 52, 2):
        for b in range(n // 2 + 1):
            exact = bounds.theorem3_redundancy(n, b)
            assert exact == deterministic(n, b).exact_redundancy
            assert exact >= bounds.smallest_copies(b)
    assert bounds.theorem3_redundancy(49, 5) == Fraction(191, 7)
    with pytest.raises(ValueError, match="must be odd, got 8"):
        bounds.theorem3_redundancy(8, 1)


def test_sign_error_of_gaussian_noise_is_within_both_bounds():
    for snr in (0.1, 0.5, 1.0, 2 / math.sqrt(3), 1.5, 3.0):
        exact = 0.5 * math.erfc(snr / math.sqrt(2))
        assert exact <= bounds.gauss_sign_error(snr) <= 0.5
        assert exact <= bounds.chebyshev_sign_error(snr) <= 0.5
    assert bounds.gauss_sign_error(0) == 0.5
    edge = 2 / math.sqrt(3)
    assert bounds.gauss_sign_error(edge) == pytest.approx(bounds.gauss_sign_error(edge * (1 + 1e-12)))


def test_gauss_bound_is_tight_for_its_extremal_noise():
    # Uniform noise on [-sqrt(3), sqrt(3)] has variance 1: P(noise < -S) = 1/2 - S / (2 sqrt(3)).
    assert bounds.gauss_sign_error(0.8) == pytest.approx((math.sqrt(3) - 0.8) / (2 * math.sqrt(3)))


def test_majority_vote_bounds():
    # Values worked out by hand.
    assert bounds.majority_vote_bound(1.5, 4.0, 3.0, 9, 100) == pytest.approx((2 * 2 + 2) ** 2 / 10)
    assert bounds.small_batch_bound(4.0, 9.0, 36) == pytest.approx(3.0)
    assert bounds.blind_adversary_bound(4.0, 9.0, 8.0, 16, 64, 0.25) == pytest.approx(4 / 8 * (4 + 6) ** 2)
    clean = bounds.blind_adversary_bound(1, 1, 1, 7, 100, 0)
    assert clean < bounds.blind_adversary_bound(1, 1, 1, 7, 100, 0.3)
    got = bounds.byzantine_adversary_bound(4.0, 9.0, 2.0, 4, 64, 0.25, 1.0)
    assert got == pytest.approx(0.5 * (2 / (2 * math.sqrt(2) * 0.25 * 2) + 6) ** 2)
    with pytest.raises(ValueError, match=r"alpha must be below 1 - 1 / \(2 p\) = 0.375, got 0.375"):
        bounds.byzantine_adversary_bound(1, 1, 1, 7, 100, 0.375, 0.8)


def test_cantelli_bounds_the_binomial_tail():
    for m, liars, p in [(15, 3, 0.9), (25, 5, 0.8), (9, 2, 0.95)]:
        honest = m - liars
        wrong = sum(
            math.comb(honest, z) * p**z * (1 - p) ** (honest - z) for z in range(honest + 1) if z <= m / 2
        )
        assert wrong <= bounds.cantelli_failure(m, liars / m, p) < 1
    assert bounds.cantelli_failure(9, 0.4, 0.6) == 1.0


def test_types_are_named():
    with pytest.raises(TypeError, match="lemma1_local_error: snr must be a number"):
        bounds.lemma1_local_error(40, "1")
    with pytest.raises(TypeError, match="num_workers must be an integer"):
        bounds.lemma1_connection_probability(40.0)
