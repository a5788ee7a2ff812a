"""The guarantee itself, exhaustively: every sign vector, every attacker set, every message.

All 2^n sign vectors are the coordinates of one vote, so that one attacker set costs one vote.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from electioncode import reference
from electioncode.codes import AllocationCode, deterministic, uncoded
from electioncode.votes import PackedSigns, local_majorities, majority

PERFECT = [(5, 1), (7, 1), (7, 2), (9, 1), (9, 2), (9, 3)]


def all_sign_vectors(k: int) -> PackedSigns:
    """(k, 2^k): coordinate c gives partition j the sign of bit j of c."""
    return PackedSigns(reference.to_words(np.arange(2**k) >> np.arange(k)[:, None] & 1), 2**k)


def replaced(honest: PackedSigns, attackers: tuple[int, ...], sent: list[np.ndarray]) -> PackedSigns:
    words = honest.words.copy()
    for worker, message in zip(attackers, sent, strict=True):
        words[worker] = message
    return PackedSigns(words, honest.d)


def broken(code: AllocationCode, b: int, messages: str) -> np.ndarray:
    """(2^k,) bool: where some b attackers turn the decoded vote from the true majority."""
    votes = all_sign_vectors(code.num_partitions)
    truth = majority(votes)
    honest = local_majorities(votes, code)
    full = reference.to_words(np.ones(votes.d, dtype=bool))
    wrong = np.zeros_like(truth.words)
    for attackers in itertools.combinations(range(code.num_workers), b):
        if messages == "oppose":
            sendings = [[~truth.words & full] * b]
        elif messages == "flip":
            sendings = [[~honest.words[i] & full for i in attackers]]
        else:  # at one coordinate b messages are b bits, so constant messages run through all there are
            sendings = [list(bits) for bits in itertools.product([full, full & np.uint64(0)], repeat=b)]
        for sent in sendings:
            wrong |= majority(replaced(honest, attackers, sent)).words ^ truth.words
    return reference.to_bits(wrong, votes.d)


@pytest.mark.parametrize("messages", ["oppose", "flip"])
@pytest.mark.parametrize(("n", "b"), PERFECT)
def test_algorithm_1_gives_the_true_majority(n, b, messages):
    assert not broken(deterministic(n, b), b, messages).any()


@pytest.mark.parametrize(("n", "b"), PERFECT)
def test_algorithm_1_withstands_every_message(n, b):
    assert not broken(deterministic(n, b), b, "every").any()


@pytest.mark.parametrize(("n", "b"), PERFECT)
def test_algorithm_1_fails_with_one_attacker_more(n, b):
    assert broken(deterministic(n, b), b + 1, "oppose").any()


@pytest.mark.parametrize(
    ("code", "b", "failing"),
    [
        (uncoded(5), 1, 20),
        (uncoded(9), 2, 420),
        (uncoded(5), 2, 30),
        (deterministic(5, 1), 2, 16),
    ],
    ids=["uncoded-5-1", "uncoded-9-2", "uncoded-5-2", "deterministic-5-1-attacked-by-2"],
)
def test_failures_as_published(code, b, failing):
    assert broken(code, b, "every").sum() == failing
    assert (broken(code, b, "oppose") | broken(code, b, "flip")).sum() == failing


@pytest.mark.parametrize("code", [deterministic(9, 2), uncoded(9), deterministic(7, 1)], ids=repr)
def test_packed_path_equals_the_reference(code):
    votes = all_sign_vectors(code.num_partitions)
    expected, _ = reference.local_majorities(votes.words, code.allocation, votes.d)
    honest = local_majorities(votes, code)
    assert np.array_equal(honest.words, expected)
    attacked = replaced(honest, (0, 3), [~honest.words[0], ~honest.words[3]])
    assert np.array_equal(majority(attacked).words, reference.majority(attacked.words, votes.d)[0])
    assert np.array_equal(majority(votes).words, reference.majority(votes.words, votes.d)[0])


def test_lemma_2_is_tight():
    # With one vote missing to a majority of +1, exactly (n - 1) / 2 - b workers at most vote +1.
    for n in range(3, 14, 2):
        signs = np.arange(2**n)[:, None] >> np.arange(n) & 1
        short = signs[signs.sum(axis=1) == n // 2]
        for b in range(n // 2 + 1):
            rows = deterministic(n, b).allocation.astype(np.int64)
            votes = 2 * (short @ rows.T) > rows.sum(axis=1)
            assert votes.sum(axis=1).max() == n // 2 - b
