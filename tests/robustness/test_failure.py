"""Failure rates: simulation against enumeration, and enumeration against counting by definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from electioncode import reference
from electioncode.codes import AllocationCode, bernoulli, deterministic, repetition, uncoded
from electioncode.core import popcounts
from electioncode.robustness import simulation, tolerance
from electioncode.robustness.failure import failure_rate, wilson

MIXED = AllocationCode([[1, 1, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])


def by_definition(code, attackers, right, tie, messages, gradient):
    """P(wrong), one sign vector at a time."""
    at_tie = {"plus": 1, "minus": -1, "abstain": 0}[tie]
    total = 0.0
    for signs in itertools.product((1, -1), repeat=code.num_partitions):
        probability = math.prod(right if s > 0 else 1 - right for s in signs)
        truth = 1 if gradient else np.sign(sum(signs)) or at_tie
        received = []
        for i in range(code.num_workers):
            held = [signs[j] for j in code.partitions(i)]
            honest = (np.sign(sum(held)) or at_tie) if held else 0
            if i in attackers:
                honest = {"oppose": -truth or -1, "reverse": -honest}[messages]
            received.append(honest)
        total += probability * ((np.sign(sum(received)) or at_tie) != truth)
    return total


@pytest.mark.parametrize("tie", ["plus", "minus", "abstain"])
@pytest.mark.parametrize("messages", ["oppose", "reverse"])
@pytest.mark.parametrize("code", [MIXED, uncoded(4), bernoulli(5, 2, num_partitions=6, seed=1)], ids=repr)
def test_enumeration_is_the_definition(code, messages, tie):
    for attackers in [(), (1,), (0, 2), (2, 3)]:
        b = len(attackers)
        found = failure_rate(code, b, 0.7, trials=None, attackers=attackers, messages=messages, tie=tie)
        right = 1 - simulation.sign_error(0.7, "paper")
        assert found.gradient is not None
        expected = [by_definition(code, attackers, right, tie, messages, g) for g in (False, True)]
        assert found.majority.rate == pytest.approx(expected[0], abs=1e-12)
        assert found.gradient.rate == pytest.approx(expected[1], abs=1e-12)


@pytest.mark.parametrize(
    ("code", "b", "failing"),
    [(uncoded(5), 1, 20), (uncoded(9), 2, 420), (uncoded(5), 2, 30), (deterministic(5, 1), 2, 16)],
    ids=["uncoded-5-1", "uncoded-9-2", "uncoded-5-2", "deterministic-5-1-attacked-by-2"],
)
def test_published_failures(code, b, failing):
    exact = failure_rate(code, b, trials=None, attackers="any")
    assert exact.majority.rate * 2**code.num_partitions == failing
    # The interval is at 1 - 1e-9: a miss is a defect, not bad luck.
    measured = failure_rate(code, b, trials=100_000, attackers="any", confidence=1 - 1e-9).majority
    assert measured.low < exact.majority.rate < measured.high


@pytest.mark.parametrize("tie", ["plus", "minus", "random", "abstain"])
@pytest.mark.parametrize("k", [4, 5])
def test_any_set_fails_exactly_beyond_the_tolerance(k, tie):
    code = bernoulli(9, connection_probability=0.6, num_partitions=k, seed=3)
    held = tolerance(code, tie).num_byzantine
    for b in range(4):
        failures = failure_rate(code, b, trials=20_000, attackers="any", tie=tie).majority.failures
        # 20 000 fair elections meet each of 32 sign vectors; random ties take longer to conspire.
        if b <= held:
            assert failures == 0
        elif tie != "random":
            assert failures > 0


@pytest.mark.parametrize("attackers", ["worst", "random", "any", (0, 3)])
@pytest.mark.parametrize("tie", ["plus", "abstain"])
def test_simulation_agrees_with_enumeration(attackers, tie):
    code = bernoulli(8, 3, seed=2)
    exact = failure_rate(code, 2, 1.0, trials=None, attackers=attackers, tie=tie, noise="gaussian")
    measured = failure_rate(
        code,
        2,
        1.0,
        trials=400_000,
        attackers=exact.attackers,
        tie=tie,
        noise="gaussian",
        confidence=1 - 1e-9,
    )
    for a, m in [(exact.majority, measured.majority), (exact.gradient, measured.gradient)]:
        if m is measured.gradient and attackers == "worst":
            continue  # its worst attackers may be others
        assert a.low == a.rate == a.high
        assert m.low < a.rate < m.high
        assert 0.002 < a.rate < 0.9
        assert m.high - m.low < 0.02


def test_intervals_cover_at_their_confidence():
    code = deterministic(5, 1)
    exact = failure_rate(code, 2, trials=None, attackers="random").majority.rate
    runs = [failure_rate(code, 2, trials=6400, attackers="random", seed=s).majority for s in range(200)]
    covered = sum(run.low <= exact <= run.high for run in runs)
    assert exact == pytest.approx(0.3)
    assert 178 <= covered <= 199  # 190 expected; outside with probability 1e-4


def test_worst_is_at_least_every_placement():
    code = bernoulli(8, 3, seed=5)
    worst = failure_rate(code, 2, trials=None)
    rates = [
        failure_rate(code, 2, trials=None, attackers=c).majority.rate
        for c in itertools.combinations(range(8), 2)
    ]
    assert worst.majority.rate == pytest.approx(max(rates))
    assert worst.every_set_tried
    mean = failure_rate(code, 2, trials=None, attackers="random").majority.rate
    assert mean == pytest.approx(np.mean(rates))


def test_perfect_codes_never_fail():
    for attackers in ("worst", "random", "any"):
        found = failure_rate(deterministic(15, 3), 3, 0.3, trials=100_000, attackers=attackers)
        assert found.majority.failures == 0
        assert found.majority.low == 0
        assert found.majority.high < 1e-4
    assert failure_rate(repetition(10, 3), 1, trials=None, attackers="any").majority.rate == 0


def test_random_messages_and_random_ties_run():
    code = bernoulli(8, 3, seed=2)
    random = failure_rate(code, 2, trials=100_000, attackers=(0, 1), messages="random")
    oppose = failure_rate(code, 2, trials=100_000, attackers=(0, 1))
    assert 0 < random.majority.high < oppose.majority.low
    plus, minus, either = (
        failure_rate(code, 2, trials=100_000, attackers=(0, 1), tie=tie).majority.rate
        for tie in ("plus", "minus", "random")
    )
    assert either != plus
    assert either != minus


def test_it_is_reproducible():
    code = bernoulli(8, 3, seed=2)
    first = failure_rate(code, 2, 1.0, trials=300_000, attackers="random", seed=3)
    assert first == failure_rate(code, 2, 1.0, trials=300_000, attackers="random", seed=3)
    assert first != failure_rate(code, 2, 1.0, trials=300_000, attackers="random", seed=4)


@pytest.mark.parametrize("probability", [0.0, 1.0, 0.5, 0.25, 0.3, 2**-24, 1 - 2**-24, 1e-9])
def test_biased_words(probability):
    words = simulation.biased_words(probability, 4000, 1, 2, 3)
    ones = int(popcounts(words).sum())
    p = round(probability * 2**24) / 2**24
    assert abs(ones - 256_000 * p) <= 6 * math.sqrt(256_000 * p * (1 - p))
    assert np.array_equal(
        popcounts(words), reference.to_bits(words, 256_000).reshape(-1, 64).sum(1)
    )


def test_random_sets_are_uniform():
    sets = simulation.random_sets(5, 2, 40_000, 1, 2)
    assert set(np.unique(sets).tolist()) == {0, 2**64 - 1}
    assert ((sets != 0).sum(axis=0) == 2).all()
    _, counts = np.unique(sets.T, axis=0, return_counts=True)
    assert len(counts) == 10
    assert abs(counts - 4000).max() < 6 * math.sqrt(4000 * 0.9)


def test_wilson():
    # Newcombe (1998), table I: 81/263 and 15/148 and 0/20 at 95 %.
    assert wilson(81, 263, 0.95) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148, 0.95) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20, 0.95) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(20, 20, 0.95)[1] == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_byzantine": 9}, r"num_byzantine must be in 0\.\.8, got 9"),
        (
            {"attackers": "best"},
            "attackers must be 'worst', 'random', 'any' or a sequence of workers, got 'best'",
        ),
        ({"attackers": (1,)}, r"attackers must be 2 workers \(num_byzantine\), got \(1,\)"),
        ({"attackers": (1, 9)}, r"attackers must be different workers in 0\.\.7"),
        ({"attackers": "any", "messages": "random"}, "messages must be 'oppose'"),
        ({"tie": "x"}, "tie must be one of"),
        ({"messages": "x"}, "messages must be one of 'oppose', 'reverse', 'random', got 'x'"),
        ({"snr": -1.0}, r"snr must be in \[0, inf\], got -1.0"),
        ({"snr": 1.0, "noise": "x"}, "noise must be one of 'paper', 'gaussian', got 'x'"),
        ({"trials": 0}, "trials must be in"),
        ({"trials": None, "tie": "random"}, "trials=None needs at most 25 partitions"),
        ({"confidence": 1.0}, r"confidence must be in \(0, 1\)"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        failure_rate(bernoulli(8, 3, seed=2), **{"num_byzantine": 2, **arguments})
