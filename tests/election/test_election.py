"""The protocol against an obvious loop over electioncode.reference: whole, attacked and broken messages."""

from __future__ import annotations

import numpy as np
import pytest
from elections import Tampering
from hypothesis import given, settings
from hypothesis import strategies as st

import electioncode as ec
from electioncode import attacks, frame, reference
from electioncode.election import Election
from electioncode.transport import InProcessTransport

CODES = {
    "uncoded": lambda: ec.uncoded(5),
    "deterministic": lambda: ec.deterministic(5, 1),
    "repetition": lambda: ec.repetition(6, 3),
    "bernoulli": lambda: ec.bernoulli(7, redundancy=2.5, num_partitions=4, seed=3),
    "one worker": lambda: ec.uncoded(1),
    "idle worker": lambda: ec.AllocationCode([[1, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 0]]),
}
POLICIES = ("plus", "minus", "random", "abstain")


def oracle(code, x, *, tie="plus", zero="plus", nan="raise", seed=0, step=0, attacks_by=None, left_out=()):
    """Return the winner as +1, -1 and 0: two votes, written down as they are defined."""
    d = x.shape[1]
    partitions = [reference.pack(x[p], zero, nan, seed, step, stream=p) for p in range(code.num_partitions)]
    messages = []
    for worker in range(code.num_workers):
        held = [partitions[p] for p in code.partitions(worker)]
        message = reference.majority(
            [h[0] for h in held], d, tie, [h[1] for h in held], None, seed, step, worker + 1
        )
        if not held:  # an idle worker abstains
            message = np.zeros_like(message[0]), np.zeros_like(message[0])
        if attacks_by and worker in attacks_by:
            sent = attacks_by[worker](ec.PackedSigns(message[0], d, message[1]), worker=worker, step=step)
            message = sent.words, sent.mask
        if worker not in left_out:
            messages.append(message)
    words, mask = reference.majority(
        [m[0] for m in messages], d, tie, [m[1] for m in messages], None, seed, step, 0
    )
    return reference.unpack(words, d, mask)


def gradients(k, d, seed=0):
    return np.random.default_rng(seed).integers(-2, 3, (k, d)).astype(np.float32)


def run(election, x):
    for partition in election.partitions:
        election.cast(partition, x[partition])
    return election.resolve()


@pytest.mark.parametrize("tie", POLICIES)
@pytest.mark.parametrize("zero", POLICIES)
@pytest.mark.parametrize("name", CODES)
def test_equals_the_reference_over_several_steps(name, zero, tie):
    code = CODES[name]()
    with Election(code, InProcessTransport(code.num_workers), tie, zero, seed=9) as election:
        for step in range(3):
            x = gradients(code.num_partitions, (130, 64, 1)[step], seed=step)
            assert election.step == step
            winner = run(election, x)
            assert (winner.mask is not None) == (tie == "abstain")
            expected = oracle(code, x, tie=tie, zero=zero, seed=9, step=step)
            assert np.array_equal(winner.unpack(), expected)
        assert election.stats.steps == 3 and election.stats.abstentions == {}


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 140), st.integers(0, 2**32 - 1), st.data())
def test_equals_the_reference_for_any_code(n, k, d, seed, draw):
    rng = np.random.default_rng(seed)
    code = ec.AllocationCode(rng.integers(0, 2, (n, k)).astype(np.uint8))
    tie, zero = draw.draw(st.sampled_from(POLICIES)), draw.draw(st.sampled_from(POLICIES))
    names = draw.draw(st.dictionaries(st.integers(0, n - 1), st.sampled_from(attacks.NAMES), max_size=n))
    byzantine = {worker: attacks.by_name(name, seed=5) for worker, name in names.items()}
    x = gradients(k, d, seed)
    election = Election(code, InProcessTransport(n), tie, zero, seed=seed, byzantine=byzantine)
    for partition in draw.draw(st.permutations(election.partitions)):
        election.cast(partition, x[partition])
    expected = oracle(code, x, tie=tie, zero=zero, seed=seed, attacks_by=byzantine)
    assert np.array_equal(election.resolve(d).unpack(), expected)


@pytest.mark.parametrize("masked", ["none", "some", "all"])
def test_packed_votes_may_be_cast_with_and_without_masks(masked):
    code = ec.deterministic(7, 2)
    x = gradients(7, 100)
    zero = {"none": "plus", "some": None, "all": "abstain"}[masked]
    votes = [ec.pack(row, zero=zero or ("plus", "abstain")[p % 2]) for p, row in enumerate(x)]
    election = Election(code, InProcessTransport(7))
    for _ in range(2):
        for p in range(7):
            election.cast(p, votes[p])
        winner = election.resolve()
        local = [
            reference.majority(
                [votes[p].words for p in code.partitions(w)],
                100,
                masks=[votes[p].mask for p in code.partitions(w)],
            )[0]
            for w in range(7)
        ]
        assert np.array_equal(winner.words, reference.majority(local, 100)[0])


def tally_process(code, worker, x, **policies):
    """Return what a process with this one worker sends."""
    sent = {}

    class OneWorker:
        num_workers, workers = code.num_workers, (worker,)
        bytes_sent = bytes_received = 0

        def exchange(self, messages, max_bytes, decode):
            sent.update({w: bytes(m) for w, m in messages.items()})
            return decode([sent.get(w) for w in range(code.num_workers)])

    election = Election(code, OneWorker(), **policies)
    assert election.partitions == code.partitions(worker)
    for p in election.partitions:
        election.cast(p, x[p])
    election.resolve(x.shape[1])
    return sent[worker]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", CODES)
def test_a_process_of_one_worker_sends_what_all_in_one_process_send(name, policy):
    """The tally of one worker and the stored rows of all give the same messages, byte for byte."""
    code = CODES[name]()
    x = gradients(code.num_partitions, 200)
    together = {}

    class Listening(InProcessTransport):
        def exchange(self, messages, max_bytes, decode):
            together.update({w: bytes(m) for w, m in messages.items()})
            return super().exchange(messages, max_bytes, decode)

    run(Election(code, Listening(code.num_workers), policy, policy, seed=4), x)
    for worker in range(code.num_workers):
        assert tally_process(code, worker, x, tie=policy, zero=policy, seed=4) == together[worker]


GARBAGE = {
    "random bytes": lambda m, before: np.random.default_rng(1).bytes(len(m)),
    "empty": lambda m, before: b"",
    "one byte": lambda m, before: b"E",
    "short": lambda m, before: m[:-8],
    "cut header": lambda m, before: m[:30],
    "longer": lambda m, before: m + bytes(8),
    "far too long": lambda m, before: m * 100,
    "stale step": lambda m, before: before if before else None,
    "nothing": lambda m, before: None,
    "bit flip in the votes": lambda m, before: m[:-9] + bytes([m[-9] ^ 16]) + m[-8:],
    "bit flip in the checksum": lambda m, before: m[:35] + bytes([m[35] ^ 1]) + m[36:],
    "zeros": lambda m, before: bytes(len(m)),
    "another d": lambda m, before: frame.encode(ec.pack(np.ones(64)), step=1, sender=2).tobytes(),
    "another sender": lambda m, before: frame.encode(frame.decode(m), step=1, sender=3).tobytes(),
    "the server": lambda m, before: frame.encode(frame.decode(m), step=1, sender=frame.SERVER).tobytes(),
    "a step ahead": lambda m, before: frame.encode(frame.decode(m), step=2, sender=2).tobytes(),
}


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_costs_its_sender_its_vote_and_nothing_else(garbage):
    code = ec.uncoded(5)
    transport = Tampering(InProcessTransport(5), workers={2})
    election = Election(code, transport)
    x = gradients(5, 300, seed=2)
    run(election, gradients(5, 300, seed=1))
    transport.change = GARBAGE[garbage]
    assert np.array_equal(run(election, x).unpack(), oracle(code, x, left_out={2}))
    assert not np.array_equal(oracle(code, x, left_out={2}), oracle(code, x))  # its vote did count
    assert election.stats.abstentions == {2: 1} and set(election.stats.reasons) == {2}
    transport.change = None
    assert np.array_equal(run(election, x).unpack(), oracle(code, x))
    assert election.stats.abstentions == {2: 1} and election.stats.steps == 3


@pytest.mark.parametrize("tie", POLICIES)
def test_all_workers_may_fall_silent(tie):
    """Then everything is a tie."""
    silent = Tampering(InProcessTransport(3), lambda m, before: None)
    election = Election(ec.uncoded(3), silent, tie, seed=3)
    expected = {
        "plus": np.ones(70),
        "minus": -np.ones(70),
        "abstain": np.zeros(70),
        "random": np.where(reference.random_bits(70, 3, 0, 0, reference.PURPOSE_TIE), 1, -1),
    }[tie]
    assert np.array_equal(run(election, gradients(3, 70)).unpack(), expected)
    assert election.stats.abstentions == {0: 1, 1: 1, 2: 1}
    assert "no message" in election.stats.reasons[1]


@pytest.mark.parametrize("name", attacks.NAMES)
@pytest.mark.parametrize(("n", "b"), [(5, 1), (7, 2), (9, 3)])
def test_a_perfect_code_under_attack_equals_no_attack(n, b, name):
    code = ec.deterministic(n, b)
    x = np.random.default_rng(n).standard_normal((n, 500)).astype(np.float32)
    clean = run(Election(code, InProcessTransport(n)), x)
    assert np.array_equal(clean.unpack(), np.sign(np.sign(x).sum(axis=0)))
    for first in range(n):
        byzantine = {(first + i) % n: attacks.by_name(name, seed=i) for i in range(b)}
        assert run(Election(code, InProcessTransport(n), byzantine=byzantine), x) == clean
    liars = dict.fromkeys(range(b), attacks.reverse())
    assert run(Election(ec.uncoded(n), InProcessTransport(n), byzantine=liars), x) != clean


def test_attacks_see_their_worker_and_step():
    seen = []

    def attack(message, *, worker, step):
        seen.append((worker, step, message.shape))
        return message

    election = Election(ec.uncoded(3), InProcessTransport(3), byzantine={1: attack})
    for _ in range(2):
        run(election, gradients(3, 65))
    assert seen == [(1, 0, (65,)), (1, 1, (65,))]


def test_random_policies_change_with_the_step_and_the_seed():
    x = np.zeros((3, 256), dtype=np.float32)

    def winners(seed):
        election = Election(ec.uncoded(3), InProcessTransport(3), "random", "random", seed=seed)
        return [run(election, x).words.tobytes() for _ in range(2)]

    assert len({*winners(1), *winners(2)}) == 4
    assert winners(1) == winners(1)


def test_the_winner_is_the_callers_own():
    """It does not change when the election's memory is used again."""
    election = Election(ec.uncoded(3), InProcessTransport(3))
    x = gradients(3, 128)
    first = run(election, x)
    before = first.words.copy()
    run(election, -x - 1)
    assert np.array_equal(first.words, before)


def test_torch_casts_give_a_torch_winner_with_the_same_bits():
    torch = pytest.importorskip("torch")
    code = ec.deterministic(5, 1)
    x = gradients(5, 130)
    expected = run(Election(code, InProcessTransport(5), tie="abstain"), x)
    winner = run(Election(code, InProcessTransport(5), tie="abstain"), torch.from_numpy(x))
    assert winner.words.dtype == torch.int64
    assert np.array_equal(winner.unpack().numpy(), expected.unpack())


def test_bytes_are_those_of_one_frame_up_and_one_down():
    election = Election(ec.uncoded(5), InProcessTransport(5))
    run(election, gradients(5, 1000))
    size = frame.frame_bytes(1000)
    assert election.stats.bytes_sent == election.stats.bytes_received == 5 * size == 5 * (40 + 128)


def test_cast_errors_leave_the_step_as_it_was():
    code = ec.AllocationCode([[1, 1, 0, 0]] * 3)
    election = Election(code, InProcessTransport(3))
    assert election.partitions == (0, 1)
    x = gradients(2, 70)
    election.cast(0, x[0])
    with pytest.raises(ValueError, match=r"partition must be one that this process holds, \(0, 1\), got 2"):
        election.cast(2, x[0])
    with pytest.raises(ValueError, match="partition 0 was already cast in step 0"):
        election.cast(0, x[0])
    with pytest.raises(ValueError, match=r"x must have shape \(70,\) as in the casts before, got \(71,\)"):
        election.cast(1, np.ones(71))
    with pytest.raises(ValueError, match=r"got \(1, 70\)"):
        election.cast(1, x[:1])
    with pytest.raises(ValueError, match="NaN"):
        election.cast(1, np.full(70, np.nan))
    with pytest.raises(TypeError, match="cast: x must be a NumPy array or a torch tensor, got list"):
        election.cast(1, [1.0] * 70)
    with pytest.raises(ValueError, match=r"resolve: partitions \[1\] are not cast yet in step 0"):
        election.resolve()
    with pytest.raises(ValueError, match="resolve: partitions"):
        election.resolve(70)
    election.cast(1, x[1])
    with pytest.raises(ValueError, match="d must be 70 as in the casts, got 71"):
        election.resolve(71)
    assert election.step == 0 and election.stats.steps == 0
    winner = election.resolve(70)
    assert np.array_equal(winner.unpack(), oracle(code, np.vstack([x, x]))) and election.step == 1


@pytest.mark.parametrize("workers", [(), (0,), (0, 1)])
def test_nan_in_a_cast_can_be_cast_again(workers):
    """It can at a server, which holds no partition, at a single worker, and in a process of all workers."""

    class Some:
        num_workers = 2
        bytes_sent = bytes_received = 0

        def exchange(self, messages, max_bytes, decode):
            return decode([messages.get(0), messages.get(1)])

    Some.workers = workers
    election = Election(ec.uncoded(2), Some())
    for p in election.partitions:
        with pytest.raises(ValueError, match="NaN"):
            election.cast(p, np.array([1.0, np.nan, 1.0]))
        election.cast(p, np.array([1.0, -1.0, -1.0]))
    expected = [1, 1, 1] if not workers else [1, -1, -1]
    assert np.array_equal(election.resolve(3).unpack(), expected)


def test_a_failing_attack_leaves_the_step_as_it_was():
    def fails(message, *, worker, step):
        raise RuntimeError("no idea what to send")

    election = Election(ec.uncoded(3), InProcessTransport(3), byzantine={0: fails})
    x = gradients(3, 10)
    with pytest.raises(RuntimeError, match="no idea"):
        run(election, x)
    assert election.step == 0
    election.byzantine.clear()
    assert np.array_equal(election.resolve().unpack(), oracle(ec.uncoded(3), x))


@pytest.mark.parametrize("result", [b"", b"x" * 48, None])
def test_a_failing_exchange_ends_the_step_and_the_next_one_works(result):
    class Once(InProcessTransport):
        fails = True

        def exchange(self, messages, max_bytes, decode):
            if self.fails:
                self.fails = False
                if result is None:
                    raise TimeoutError("silent")
                return result
            return super().exchange(messages, max_bytes, decode)

    for code in (ec.uncoded(1), ec.uncoded(3)):
        n = code.num_workers
        election = Election(code, Once(n))
        with pytest.raises(TimeoutError if result is None else frame.FrameError):
            run(election, gradients(n, 99))
        assert election.step == 1 and election.stats.steps == 0
        x = gradients(n, 55, seed=1)
        assert np.array_equal(run(election, x).unpack(), oracle(code, x, step=1))


def test_construction_errors():
    code, transport = ec.uncoded(3), InProcessTransport(3)
    with pytest.raises(ValueError, match="as many workers as the code, 3, got 4"):
        Election(code, InProcessTransport(4))
    for name in ("tie", "zero", "nan"):
        with pytest.raises(ValueError, match=f"Election: {name} must be one of .* got 'maybe'"):
            Election(code, transport, **{name: "maybe"})
    with pytest.raises(ValueError, match="seed must be from 0"):
        Election(code, transport, seed=-1)
    for worker in (-1, 3, "a"):
        with pytest.raises(ValueError, match="byzantine workers must be from 0 to 2"):
            Election(code, transport, byzantine={worker: attacks.reverse()})
    with pytest.raises(TypeError, match="attacks must be callable, got str"):
        Election(code, transport, byzantine={1: "reverse"})
    transport.workers = (0, 1)
    with pytest.raises(ValueError, match=r"one worker, none \(a server\) or all, got workers \(0, 1\) of 3"):
        Election(code, transport)


def test_a_server_needs_d():
    class Server:
        num_workers, workers = 2, ()
        bytes_sent = bytes_received = 0

        def exchange(self, messages, max_bytes, decode):
            assert messages == {} and max_bytes == frame.frame_bytes(5, 2)
            votes = ec.pack(np.array([1.0, -1, 1, -1, 1]))
            return decode([frame.encode(votes, sender=worker) for worker in range(2)])

    election = Election(ec.uncoded(2), Server())
    assert election.partitions == ()
    with pytest.raises(ValueError, match="partition must be one that this process holds"):
        election.cast(0, np.ones(5))
    with pytest.raises(ValueError, match="d must be given where this process casts nothing"):
        election.resolve()
    with pytest.raises(ValueError, match="d must be at least 0, got -1"):
        election.resolve(-1)
    assert np.array_equal(election.resolve(5).unpack(), [1, -1, 1, -1, 1])


@pytest.mark.parametrize("tie", ["plus", "abstain"])
def test_a_vote_is_counted_right_into_the_frame_that_is_sent(tie):
    """Between a worker's tally and the wire nothing copies the vote, and the winner is copied once on its way back."""

    class Watched(InProcessTransport):
        def exchange(self, messages, max_bytes, decode):
            self.sent, self.result = messages, super().exchange(messages, max_bytes, decode)
            return self.result

    election = Election(ec.uncoded(1), Watched(1), tie)
    memory = set()
    for step in range(2):
        winner = run(election, gradients(1, 130, seed=step))
        (message,) = election.transport.sent.values()
        words, mask = election.encoder.messages(130, step)[0].numpy()
        assert all(np.shares_memory(message, plane) for plane in (words, mask) if plane is not None)
        assert not np.shares_memory(election.transport.result, winner.words)
        memory.add(message.ctypes.data)
    assert len(memory) == 1  # the same frame again
