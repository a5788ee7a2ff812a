"""What Byzantine workers send: bit for bit, and what the coalition achieves."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest

from electioncode import attacks, reference
from electioncode.codes import bernoulli, uncoded
from electioncode.robustness.adversaries import collude, colluders, omniscient, worst_placement
from electioncode.votes import PackedSigns, local_majorities, majority, pack

LENGTHS = [1, 63, 64, 65, 200]


def message(d: int, masked: bool) -> PackedSigns:
    x = np.random.default_rng(d).integers(-1, 2, d).astype(np.float32)
    return pack(x, zero="abstain" if masked else "plus")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("d", LENGTHS)
def test_reverse(d, masked):
    honest = message(d, masked)
    before = honest.words.copy()
    sent = attacks.reverse()(honest, worker=3, step=7)
    assert np.array_equal(sent.unpack(), -honest.unpack())
    assert (sent.mask is None) == (honest.mask is None)
    assert np.array_equal(honest.words, before)
    assert not reference.to_bits(sent.words, sent.words.size * 64)[d:].any()


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("d", LENGTHS)
def test_directional(d, direction):
    sent = attacks.directional(direction)(message(d, True), worker=3, step=7)
    assert sent.mask is None
    assert np.array_equal(sent.unpack(), np.full(d, direction))
    assert not reference.to_bits(sent.words, sent.words.size * 64)[d:].any()


def test_random_is_the_documented_stream():
    honest = message(200, False)
    sent = attacks.random(seed=5)(honest, worker=3, step=7)
    expected = reference.random_bits(200, 5, 7, 3, reference.PURPOSE_ATTACK)
    assert np.array_equal(sent.unpack() > 0, expected)
    assert sent != attacks.random(seed=5)(honest, worker=4, step=7)
    assert sent != attacks.random(seed=5)(honest, worker=3, step=8)
    assert sent != attacks.random(seed=6)(honest, worker=3, step=7)


@pytest.mark.parametrize("name", attacks.NAMES)
def test_by_name(name):
    attack = attacks.by_name(name, seed=4)
    honest = message(100, False)
    sent = attack(honest, worker=1, step=2)
    again = pickle.loads(pickle.dumps(attack))
    assert again == attack
    assert again(honest, worker=1, step=2) == sent


@pytest.mark.parametrize("name", attacks.NAMES)
@pytest.mark.parametrize("masked", [False, True])
def test_torch_messages(name, masked):
    torch = pytest.importorskip("torch")
    honest = message(130, masked)
    mask = None if honest.mask is None else torch.from_numpy(honest.mask.view(np.int64))
    tensor = PackedSigns(torch.from_numpy(honest.words.view(np.int64)), 130, mask)
    attack = attacks.by_name(name)
    expected, sent = attack(honest, worker=0, step=1), attack(tensor, worker=0, step=1)
    assert isinstance(sent.words, torch.Tensor)
    assert np.array_equal(sent.words.numpy().view(np.uint64), expected.words)
    assert (sent.mask is None) == (expected.mask is None)


def test_errors():
    with pytest.raises(ValueError, match="direction must be 1 or -1, got 0"):
        attacks.directional(0)
    with pytest.raises(ValueError, match=r"by_name: name must be one of 'reverse'.* got 'flip'"):
        attacks.by_name("flip")
    with pytest.raises(ValueError, match=r"seed must be in 0\.\.4294967295, got -1"):
        attacks.random(-1)
    with pytest.raises(TypeError, match="seed must be an integer"):
        attacks.random(1.5)


# Votes of f = 3 and f = 2 colluders as published: S -> (A, S + A).
COLLUSION = {
    3: {4: (-3, 1), 3: (-3, 0), 2: (-3, -1), 1: (-1, 0), 0: (1, 1),
        -1: (1, 0), -2: (3, 1), -3: (3, 0), -4: (3, -1)},
    2: {3: (-2, 1), 2: (-2, 0), 1: (-2, -1), 0: (0, 0)},
}  # fmt: skip


@pytest.mark.parametrize("f", [2, 3])
def test_collusion_vectors(f):
    sums = np.array(list(COLLUSION[f]))
    votes = collude(sums, f)
    assert votes.tolist() == [a for a, _ in COLLUSION[f].values()]
    assert (sums + votes).tolist() == [total for _, total in COLLUSION[f].values()]


def test_collusion_at_zero():
    assert collude(0, 3, at_zero="minus") == -1
    assert collude(0, 3, at_zero="plus") == 1
    assert collude(0, 4, at_zero="minus") == 0
    with pytest.raises(ValueError, match="at_zero must be one of"):
        collude(0, 3, at_zero="x")


@pytest.mark.parametrize("at_zero", ["plus", "minus"])
@pytest.mark.parametrize("f", [1, 2, 3, 4])
def test_colluders_send_what_collude_says(f, at_zero):
    rng = np.random.default_rng(f)
    for others in (1, 4, 5, 12):
        honest = pack(rng.standard_normal((others, 150)).astype(np.float32))
        total = honest.unpack(np.float64).sum(axis=0).astype(int)
        sent = colluders(honest, f, at_zero=at_zero).unpack(np.float64)
        assert set(np.unique(sent)) <= {-1.0, 1.0}
        assert np.array_equal(sent.sum(axis=0), collude(total, f, at_zero=at_zero))
        # Never on the side of the others' majority; on the other side or at 0 where f reaches.
        assert (np.sign(total + sent.sum(axis=0)) != np.sign(total))[(total != 0) & (abs(total) <= f)].all()


@pytest.mark.parametrize("tie", ["plus", "minus", "random", "abstain"])
def test_omniscient_turns_exactly_what_can_be_turned(tie):
    code = bernoulli(7, 3, seed=1)
    d, attackers = 130, (1, 4)
    rng = np.random.default_rng(0)
    votes = pack(rng.standard_normal((7, d)).astype(np.float32))
    honest = local_majorities(votes, code, tie, seed=3, step=4)
    truth = majority(votes)
    sent = omniscient(honest, attackers, truth, tie, seed=3, step=4)
    result = majority(sent, tie, seed=3, step=4).unpack()
    # Every combination of +1, -1 and silence of the two attackers, counted without packed words.
    signs = honest.unpack(np.float64)
    others = np.delete(signs, attackers, axis=0).sum(axis=0)
    at_tie = {"plus": 1, "minus": -1, "abstain": 0}.get(
        tie, np.where(reference.random_bits(d, 3, 4, 0, reference.PURPOSE_TIE), 1, -1)
    )
    turnable = np.zeros(d, dtype=bool)
    for sendings in itertools.product((-1, 0, 1), repeat=2):
        total = others + sum(sendings)
        turnable |= np.where(total == 0, at_tie, np.sign(total)) != truth.unpack()
    assert turnable.any()
    assert not turnable.all()
    assert np.array_equal(result != truth.unpack(), turnable)
    # Elsewhere nobody can tell them from honest workers, and honest workers' messages are their own.
    assert np.array_equal(sent.unpack()[:, ~turnable], honest.unpack()[:, ~turnable])
    keep = [i for i in range(7) if i not in attackers]
    assert np.array_equal(sent.unpack()[keep], honest.unpack()[keep])


def test_omniscient_refuses_strangers():
    votes = pack(np.ones((3, 5), dtype=np.float32))
    honest = local_majorities(votes, uncoded(3))
    for attackers in [(0, 3), (-1,), (1, 1)]:
        with pytest.raises(ValueError, match=r"attackers must be different workers in 0\.\.2"):
            omniscient(honest, attackers, majority(votes))


def test_worst_placement():
    worth = [3, 9, 1, 8, 2, 7]
    found = worst_placement(6, 2, lambda chosen: sum(worth[i] for i in chosen))
    assert (found.attackers, found.harm, found.exhaustive) == ((1, 3), 17, True)
    assert worst_placement(6, 0, lambda chosen: 5.0).attackers == ()
    # Too many sets to try: greedy takes worker 0 first, and only an exchange leads to the best pair.
    values = np.zeros((60, 60))
    values[0], values[:, 0], values[5, 6] = 1, 1, 3
    found = worst_placement(60, 2, lambda c: float(values[c]) if len(c) == 2 else float(c == (0,)))
    assert not found.exhaustive
    with pytest.raises(ValueError, match=r"num_byzantine must be in 0\.\.6, got 7"):
        worst_placement(6, 7, lambda chosen: 0.0)
