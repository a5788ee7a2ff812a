"""The general form of an election: a scheme that is no vote, and what attackers can do to it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import electioncode as ec
from electioncode import attacks, schemes
from electioncode.core import FrameError
from electioncode.transport import InProcessTransport


class SumEncoder:
    """A worker sends the sum of what was cast for its partitions."""

    def __init__(self, code, workers):
        self.code, self.workers, self.held = code, workers, {}

    def add(self, partition, x, step):
        self.held[partition] = np.asarray(x, dtype=np.float64)

    def messages(self, d, step):
        zero = np.zeros(d)
        return {w: sum((self.held[p] for p in self.code.partitions(w)), zero) for w in self.workers}

    def reset(self):
        self.held = {}


class MedianDecoder:
    """The median of the messages that came, times 1000 and the step, so that a wrong step shows."""

    def decode(self, messages, d, step, first_word=0):
        rows = [m for m in messages if m is not None]
        return np.median(rows, axis=0) + 1000 * step if rows else np.zeros(d)


class Doubles:
    """Bare float64 numbers; a length is all that can be wrong."""

    def max_bytes(self, d):
        return 8 * d

    def encode(self, message, /, *, step, sender):
        return message.tobytes()

    def decode(self, buffer, /, *, d, step, sender):
        if memoryview(buffer).nbytes != 8 * d:
            raise FrameError(f"doubles: {8 * d} bytes expected")
        return np.frombuffer(buffer)


def sums(code):
    return ec.Scheme(code, partial(SumEncoder, code), MedianDecoder(), format=Doubles(), device_format=None)


def expected(code, x, step=0, left_out=()):
    messages = code.allocation.astype(float) @ x
    return np.median(np.delete(messages, list(left_out), axis=0), axis=0) + 1000 * step


def run(election, x):
    for partition in election.partitions:
        election.cast(partition, x[partition])
    return election.resolve()


CODE = ec.cyclic(5, 3)


def test_a_scheme_that_is_no_vote(rng):
    x = rng.standard_normal((5, 70))
    with ec.Election(sums(CODE), InProcessTransport(5)) as election:
        for step in range(3):
            np.testing.assert_array_equal(run(election, x), expected(CODE, x, step))
        assert election.state_dict() == {"step": 3} and election.policies is None
        election.load_state_dict({"step": 9})
        np.testing.assert_array_equal(run(election, x), expected(CODE, x, 9))


def test_the_result_is_of_the_kind_that_was_cast(rng):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((5, 70))
    result = run(ec.Election(sums(CODE), InProcessTransport(5)), torch.from_numpy(x))
    assert isinstance(result, torch.Tensor) and result.dtype == torch.float64
    np.testing.assert_array_equal(result.numpy(), expected(CODE, x))


def test_malformed_and_missing_messages_are_abstentions(rng):
    class Losing(InProcessTransport):
        def exchange(self, messages, max_bytes, decode):
            return super().exchange({w: m[:-1] if w == 1 else m for w, m in messages.items() if w}, max_bytes, decode)

    x = rng.standard_normal((5, 70))
    election = ec.Election(sums(CODE), Losing(5))
    np.testing.assert_array_equal(run(election, x), expected(CODE, x, left_out=(0, 1)))
    assert election.stats.missing == {0: (0, 1)} and "560 bytes expected" in election.stats.reasons[1]
    with pytest.raises(ec.QuorumError, match="got 3; missing or malformed: worker 0, 1"):
        run(ec.Election(sums(CODE), Losing(5), quorum=4), x)


def test_attacks_and_coalitions_see_the_schemes_messages(rng):
    x = rng.standard_normal((5, 70))
    honest, liar = CODE.allocation.astype(float) @ x, np.full(70, 1e9)
    lie = {1: lambda message, *, worker, step: message * 0 + 1e9}
    attacked = np.median([liar if w == 1 else m for w, m in enumerate(honest)], axis=0)
    np.testing.assert_array_equal(run(ec.Election(sums(CODE), InProcessTransport(5), byzantine=lie), x), attacked)

    seen = []

    def coalition(messages, step):
        seen.append((step, {w: m.copy() for w, m in messages.items()}))
        return {3: sum(messages.values()), 4: -messages[0]}

    election = ec.Election(sums(CODE), InProcessTransport(5), coalition=coalition)
    result = run(election, x)
    assert [step for step, _ in seen] == [0]
    np.testing.assert_array_equal([seen[0][1][w] for w in range(5)], honest)
    np.testing.assert_array_equal(result, np.median([*honest[:3], honest.sum(axis=0), -honest[0]], axis=0))


def test_the_sign_vote_is_the_first_scheme(rng):
    x = rng.standard_normal((5, 130))
    for tie in ("plus", "random", "abstain"):
        by_code = ec.Election(CODE, InProcessTransport(5), tie, "abstain", seed=4)
        by_scheme = ec.Election(schemes.sign_vote(CODE, tie, "abstain", seed=4), InProcessTransport(5))
        for _ in range(2):
            assert run(by_code, x) == run(by_scheme, x)
        assert by_code.state_dict() == by_scheme.state_dict()


def test_a_coalition_of_a_sign_vote_turns_what_it_can(rng):
    x = rng.standard_normal((5, 130))

    def coalition(messages, step):
        votes = ec.majority([messages[w] for w in range(5)])
        opposite = attacks.reverse()(votes, worker=0, step=step)
        return {0: opposite, 2: opposite}

    winner = run(ec.Election(ec.uncoded(5), InProcessTransport(5), coalition=coalition), x).unpack()
    signs = np.sign(x)
    signs[[0, 2]] = -np.sign(np.sign(x).sum(axis=0))
    np.testing.assert_array_equal(winner, np.sign(signs.sum(axis=0)))
    assert (winner != np.sign(np.sign(x).sum(axis=0))).any()


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="tie, zero, nan and seed must be given to the scheme"):
        ec.Election(sums(CODE), InProcessTransport(5), tie="random")
    with pytest.raises(ValueError, match="as many workers as the code, 5, got 4"):
        ec.Election(sums(CODE), InProcessTransport(4))
    with pytest.raises(ValueError, match="sign_vote: tie must be one of"):
        schemes.sign_vote(CODE, "maybe")

    class Elsewhere:
        num_workers, workers = 5, (0,)

    with pytest.raises(ValueError, match="needs all workers in one process"):
        ec.Election(sums(CODE), Elsewhere(), coalition=lambda messages, step: {})


def test_sign_optimizers_refuse_other_schemes():
    torch = pytest.importorskip("torch")
    election = ec.Election(sums(CODE), InProcessTransport(5))
    with pytest.raises(TypeError, match="Signum: election must be a sign vote"):
        ec.Signum([torch.zeros(3, requires_grad=True)], election=election)
