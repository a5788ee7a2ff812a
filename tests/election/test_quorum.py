"""Votes in which workers are missing: who they were, when that is an error, and going on afterwards."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import electioncode as ec
from electioncode import frame
from electioncode.election.quorum import ElectionStats, Refusals
from electioncode.transport import InProcessTransport


class Absent(InProcessTransport):
    """Some workers send nothing, or nothing of use."""

    silent: frozenset[int] = frozenset()
    garbled: frozenset[int] = frozenset()

    def exchange(self, messages, max_bytes, decode):
        sent = {w: b"?" if w in self.garbled else m for w, m in messages.items() if w not in self.silent}
        result = super().exchange(sent, max_bytes, decode)
        assert memoryview(result).nbytes <= max_bytes  # what every transport may count on
        return result


def gradients(n, seed=0, d=200):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def run(election, x):
    for partition in election.partitions:
        election.cast(partition, x[partition])
    return election.resolve()


def test_stats_say_who_was_missing_in_which_step():
    transport = Absent(5)
    election = ec.Election(ec.uncoded(5), transport)
    for step, (silent, garbled) in enumerate([((), ()), ((3,), (1,)), ((), ()), ((4, 0, 1), ())]):
        transport.silent, transport.garbled = frozenset(silent), frozenset(garbled)
        run(election, gradients(5, step))
    stats = election.stats
    assert stats.missing == {1: (1, 3), 3: (0, 1, 4)}
    assert stats.abstentions == {0: 1, 1: 2, 3: 1, 4: 1} and stats.steps == 4 and stats.refused == 0
    assert "no message" in stats.reasons[1] and "no message" in stats.reasons[3]


def test_stats_remember_a_thousand_steps():
    stats = ElectionStats()
    for step in range(1500):
        stats.note_missing(step, {step % 3: "late"})
    assert list(stats.missing) == list(range(500, 1500)) and stats.missing[502] == (1,)
    assert stats.abstentions == {0: 500, 1: 500, 2: 500}


def test_too_few_messages_raise_and_the_next_step_works():
    transport = Absent(5)
    election = ec.Election(ec.uncoded(5), transport, tie="random", quorum=3, seed=8)
    transport.silent, transport.garbled = frozenset({0}), frozenset({4})
    run(election, gradients(5))  # 3 are enough
    transport.silent = frozenset({0, 2})
    with pytest.raises(ec.QuorumError) as caught:
        run(election, gradients(5))
    error = caught.value
    assert (error.step, error.quorum, error.num_workers, error.missing) == (1, 3, 5, (0, 2, 4))
    assert "step 1 has no quorum: at least 3 of 5 messages must come, got 2" in str(error)
    assert "missing or malformed: worker 0, 2, 4" in str(error)
    assert election.step == 2
    assert election.stats.steps == 1 and election.stats.refused == 1
    assert election.stats.missing == {0: (0, 4), 1: (0, 2, 4)}
    assert election.stats.abstentions == {0: 2, 4: 2, 2: 1}
    transport.silent = transport.garbled = frozenset()
    winner = run(election, gradients(5, 1))
    fresh = ec.Election(ec.uncoded(5), InProcessTransport(5), tie="random", seed=8)
    fresh.step = 2
    assert winner == run(fresh, gradients(5, 1))


@pytest.mark.parametrize(
    ("code", "tie", "expected"),
    [
        (ec.uncoded(5), "plus", 5),
        (ec.deterministic(9, 3), "plus", 6),
        (ec.repetition(6, 2), "plus", None),
        (ec.deterministic(5, 1), "random", None),
        (ec.AllocationCode([[1, 0, 0], [1, 0, 0], [1, 0, 0]]), "plus", 3),  # wrong even without liars
    ],
)
def test_quorum_of_the_code_is_what_it_tolerates(code, tie, expected):
    tolerated = max(0, ec.tolerance(code, tie).num_byzantine)
    n = code.num_workers
    transport = Absent(n)
    election = ec.Election(code, transport, tie, quorum="code")
    assert election.quorum == n - tolerated == (expected or election.quorum)
    x = gradients(code.num_partitions)
    full = run(ec.Election(code, InProcessTransport(n), tie), x)
    for first in range(n):
        transport.silent = frozenset((first + i) % n for i in range(tolerated))
        winner = run(election, x)
        assert tolerated == 0 or winner.words.tobytes() == full.words.tobytes() or tie == "random"
        transport.silent = frozenset((first + i) % n for i in range(tolerated + 1))
        with pytest.raises(ec.QuorumError):
            run(election, x)


def test_without_a_quorum_any_number_will_do():
    transport = Absent(3)
    transport.silent = frozenset({0, 1, 2})
    election = ec.Election(ec.uncoded(3), transport)
    assert election.quorum is None
    assert (run(election, gradients(3)).unpack() == 1).all() and election.stats.missing == {0: (0, 1, 2)}


@pytest.mark.parametrize("wrong", [0, 4, -1])
def test_a_number_out_of_range(wrong):
    with pytest.raises(ValueError, match=f"quorum must be from 1 to 3, the number of workers, got {wrong}"):
        ec.Election(ec.uncoded(3), InProcessTransport(3), quorum=wrong)


@pytest.mark.parametrize("wrong", ["all", 2.0, True])
def test_what_is_no_quorum(wrong):
    with pytest.raises(TypeError, match="quorum must be an integer, 'code' or None"):
        ec.Election(ec.uncoded(3), InProcessTransport(3), quorum=wrong)


def test_a_worker_cannot_refuse_a_vote():
    """A refusal is an answer of whoever counts; as a message it is malformed."""
    forged = Refusals(3).encode((0, 1, 2), step=0, on_device=False).tobytes()

    class Forging(InProcessTransport):
        def exchange(self, messages, max_bytes, decode):
            return super().exchange({**messages, 1: forged}, max_bytes, decode)

    election = ec.Election(ec.uncoded(3), Forging(3), quorum=2)
    run(election, gradients(3))
    assert election.stats.missing == {0: (1,)} and "d must be 200, got 3" in election.stats.reasons[1]


def test_many_workers_and_few_coordinates_fit_the_transport():
    n = 999
    transport = Absent(n)
    transport.silent = frozenset({5, 700})
    election = ec.Election(ec.uncoded(n), transport, quorum=n)
    with pytest.raises(ec.QuorumError, match="got 997; missing or malformed: worker 5, 700"):
        run(election, gradients(n, d=1))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.integers(0, 2**64 - 1), st.booleans(), st.data())
def test_refusals_travel_whole_or_not_at_all(n, step, on_device, draw):
    refusals, missing = Refusals(n), tuple(sorted(draw.draw(st.sets(st.integers(0, n - 1)))))
    sent = refusals.encode(missing, step=step, on_device=on_device)
    assert len(sent) == refusals.num_bytes + on_device and (len(sent) % 8 == 1) == on_device
    for result in (sent, sent.tobytes(), memoryview(sent)):
        assert refusals.decode(result, step=step, on_device=on_device) == missing
    flipped, bit = sent.copy(), draw.draw(st.integers(0, 8 * refusals.num_bytes - 1))
    flipped[bit // 8] ^= 1 << bit % 8
    cuts = [sent[:-1], sent[:8], np.append(sent, np.zeros(8, np.uint8))]
    for wrong in (flipped, *cuts):
        assert refusals.decode(wrong, step=step, on_device=on_device) is None
        with pytest.raises(frame.FrameError):  # nor is it a result
            frame.decode(wrong, d=n, step=step, sender=frame.SERVER)
    assert refusals.decode(sent, step=step ^ 1, on_device=on_device) is None
    assert Refusals(n + 64).decode(sent, step=step, on_device=on_device) is None
    assert refusals.decode(sent, step=step, on_device=not on_device) is None


@pytest.mark.parametrize("d", [3, 10])
def test_results_and_messages_are_no_refusals(d):
    for sender in (frame.SERVER, 0, 2):
        votes = frame.encode(ec.pack(np.ones(d)), sender=sender)
        for result in (votes, votes.tobytes(), memoryview(votes), b"", b"ELE"):
            assert Refusals(3).decode(result, step=0, on_device=False) is None


def test_a_damaged_refusal_is_an_error_of_its_own():
    class Damaging(Absent):
        def exchange(self, messages, max_bytes, decode):
            result = np.array(super().exchange(messages, max_bytes, decode))
            result[40] ^= 1
            return result

    transport = Damaging(3)
    transport.silent = frozenset({1})
    with pytest.raises(frame.FrameError):
        run(ec.Election(ec.uncoded(3), transport, quorum=3), gradients(3))


def test_the_error_pickles():
    error = pickle.loads(pickle.dumps(ec.QuorumError(7, 3, 5, [1, 2, 4])))
    assert isinstance(error, ec.QuorumError) and error.missing == (1, 2, 4) and "step 7" in str(error)


def test_an_optimizer_stays_where_it_is():
    torch = pytest.importorskip("torch")
    transport = Absent(3)
    p = torch.nn.Parameter(torch.zeros(5))
    optimizer = ec.Signum([p], 1.0, election=ec.Election(ec.uncoded(3), transport, quorum=2))
    transport.silent = frozenset({1, 2})

    def step():
        for partition in range(3):
            p.grad = torch.ones(5)
            optimizer.cast(partition)
        optimizer.step()

    with pytest.raises(ec.QuorumError):
        step()
    assert p.tolist() == [0.0] * 5
    transport.silent = frozenset({1})
    step()
    assert p.tolist() == [-1.0] * 5


def test_state_dict_goes_on_at_its_step():
    x = gradients(4)
    x[:, ::2] = 0
    rules = {"tie": "random", "zero": "random", "nan": "minus", "seed": 3}
    election = ec.Election(ec.uncoded(4), InProcessTransport(4), **rules)
    winners = [run(election, x) for _ in range(4)]
    assert len({w.words.tobytes() for w in winners}) == 4
    state = ec.Election(ec.uncoded(4), InProcessTransport(4), **rules)
    for _ in range(2):
        run(state, x)
    saved = state.state_dict()
    assert saved == {"step": 2, **rules}
    resumed = ec.Election(ec.uncoded(4), InProcessTransport(4), **rules)
    resumed.load_state_dict(saved)
    assert resumed.step == 2
    assert [run(resumed, x) for _ in range(2)] == winners[2:]
    for name, other in (("tie", "plus"), ("zero", "minus"), ("nan", "abstain"), ("seed", 4)):
        wrong = ec.Election(ec.uncoded(4), InProcessTransport(4), **{**rules, name: other})
        with pytest.raises(ValueError, match=f"load_state_dict: {name} must be {rules[name]!r} .* got {other!r}"):
            wrong.load_state_dict(saved)
        assert wrong.step == 0
    resumed.cast(0, x[0])
    with pytest.raises(RuntimeError, match="resolve step 4 first"):
        resumed.load_state_dict(saved)
