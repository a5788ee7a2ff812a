"""Elections over MPI that go well: the same bits as in one process."""

from __future__ import annotations

import hashlib
import itertools
import warnings

import numpy as np
from elections import expected, gradients, same, vote
from mpi4py import MPI
from mpi_ranks import transport

import electioncode as ec
from electioncode import attacks, frame
from electioncode.election import Election
from electioncode.transport import MPITransport, Transport

world = MPI.COMM_WORLD


def codes(n: int) -> list[ec.AllocationCode]:
    found = [ec.uncoded(n), ec.cyclic(n, min(n, 2)), ec.bernoulli(n, redundancy=min(n, 2), seed=1)]
    if n % 2:
        found.append(ec.deterministic(n, n // 2))
    return found


def first(size: str) -> MPI.Comm | None:
    """Return a communicator of the first processes, and None in the others."""
    comm = world.Split(0 if world.rank < int(size) else MPI.UNDEFINED, world.rank)
    return None if comm == MPI.COMM_NULL else comm


def equal(topology: str, size: str) -> None:
    """Every process gets the bits of the in-process election, for every code, policy, size and attack."""
    comm, n = first(size), int(size) - (topology == "server")
    if comm is None:
        return
    liars = {0: attacks.reverse(), n - 1: attacks.random(seed=3)}
    policies = (("plus", "plus"), ("random", "random"), ("abstain", "abstain"), ("minus", "random"))
    for code, (tie, zero) in itertools.product(codes(n), policies):
        rules = {"tie": tie, "zero": zero, "seed": 7, "byzantine": {} if tie == "minus" else liars}
        with Election(code, transport(topology, comm, verify_every=2), **rules) as election:
            assert isinstance(election.transport, Transport)
            workers = election.transport.workers
            assert election.partitions == (code.partitions(workers[0]) if workers else ())
            for step, d in enumerate((1, 1000, 65, 0, 300_000) if tie == "plus" else (100, 1, 1000)):
                x = gradients(code, d, step)
                winner = vote(election, x)
                same(winner, expected(code, x, step, **rules), (code.name, tie, zero, d))
            assert election.stats.abstentions == {}


def perfect(topology: str, size: str) -> None:
    """A perfect code under attack gives the winner without attack; uncoded does not."""
    comm, n = first(size), int(size) - (topology == "server")
    if comm is None:
        return
    byzantine = dict.fromkeys(range(n // 2), attacks.reverse())
    differs = []
    for code in (ec.deterministic(n, n // 2), ec.uncoded(n)):
        with (
            Election(code, transport(topology, comm)) as clean,
            Election(code, transport(topology, comm), byzantine=byzantine) as attacked,
        ):
            x = np.random.default_rng(5).standard_normal((n, 5000)).astype(np.float32)
            differs.append(vote(clean, x) != vote(attacked, x))
    assert differs == [False, True], differs


def bytes_on_the_wire(topology: str) -> None:
    """A worker sends and receives as many bytes as the documentation says."""
    n = world.size - (topology == "server")
    d = 64 * 5 * n * 10
    size = frame.frame_bytes(d)
    with Election(ec.uncoded(n), transport(topology)) as election:
        for step in range(3):
            vote(election, gradients(election.code, d, step))
        messages = n if not election.transport.workers else 1 if topology == "server" else n - 1
        if topology == "sharded":
            size, messages = frame.frame_bytes(d // n), 2 * (n - 1)
        assert election.stats.bytes_sent == election.stats.bytes_received == 3 * messages * size


def verified(topology: str) -> None:
    """A rank with a different result is named to the others, and is told so itself."""
    t = transport(topology, verify_every=2)
    odd = world.size - 1

    def decode(messages, part=None):
        return frame.encode(ec.pack(np.ones(64)))

    decode.split, decode.join = frame.split, frame.join
    original = hashlib.blake2b
    for step in range(4):
        if step == 3 and t.rank == odd:
            hashlib.blake2b = lambda data, **k: original(bytes(data) + b"x", **k)
        messages = {w: frame.encode(ec.pack(np.ones(640))) for w in t.workers}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                result = t.exchange(messages, 1000, decode)
            except RuntimeError as error:
                assert step == 3 and t.rank == odd, error
                text = f"exchange 4: rank {odd} disagrees with the majority of ranks (differing ranks: [{odd}])"
                assert str(error) == text, error
            else:
                assert not (step == 3 and t.rank == odd)
                d = 64 * (world.size if topology == "sharded" else 1)
                same(frame.decode(result), ec.pack(np.ones(d)), "not overwritten by digests")
        texts = [str(w.message) for w in caught]
        named = [f"exchange 4: ranks [{odd}] report results that differ from the majority's"]
        assert texts == (named if step == 3 and t.rank != odd else []), (step, texts)
    hashlib.blake2b = original
    t.close()


def subcommunicators() -> None:
    """Two elections at once, on two halves of the world."""
    half = world.Split(world.rank % 2, world.rank)
    n = half.size - 1
    code = ec.uncoded(n)
    with Election(code, MPITransport(half)) as election:
        for step in range(5):
            x = gradients(code, 20_000, 10 * step + world.rank % 2)
            same(vote(election, x), expected(code, x, step), (world.rank % 2, step))
    half.Free()


def apart() -> None:
    """Two transports and the user's own messages on one communicator do not mix, though their tags agree."""
    own = np.full(100, 7, dtype=np.uint8)
    if world.rank:
        requests = [world.Isend(own, 0, tag) for tag in range(4)]
    code = ec.uncoded(world.size - 1)
    first = Election(code, MPITransport(timeout=5 if world.rank else 0.8))
    second = Election(code, MPITransport(timeout=5))
    x, y = gradients(code, 1000, 1), gradients(code, 1000, 2)
    if world.rank == 1:  # its vote on the second waits at rank 0 while that misses it on the first
        winners = [vote(second, y), vote(first, x)][::-1]
    else:
        winners = [vote(first, x), vote(second, y)]
    same(winners[0], expected(code, x, 0, {0}), "first")
    same(winners[1], expected(code, y, 0), "second")
    first.close()
    second.close()
    if world.rank:
        MPI.Request.Waitall(requests)
    else:
        for rank in range(1, world.size):
            for tag in range(4):
                received = np.zeros(100, dtype=np.uint8)
                world.Recv(received, rank, tag)
                assert np.array_equal(received, own)


def alone() -> None:
    """A world of one has no server, but it has an allgather of one worker."""
    try:
        MPITransport()
    except ValueError as error:
        assert "needs at least 2 processes" in str(error) and "mpiexec" in str(error)
    else:
        raise AssertionError("no error")
    code = ec.uncoded(1)
    with Election(code, MPITransport(topology="allgather", timeout=1)) as election:
        x = gradients(code, 100, 0)
        same(vote(election, x), expected(code, x, 0), "alone")


def misuse() -> None:
    """Errors name what is wrong."""
    for wrong, error in (("world", TypeError), (MPI.COMM_NULL, None)):
        try:
            MPITransport(wrong)
        except (TypeError, ValueError, MPI.Exception) as caught:
            assert error is None or (isinstance(caught, error) and "Intracomm" in str(caught))
        else:
            raise AssertionError("no error")
    t = transport("server")
    try:
        Election(ec.uncoded(world.size), t)
    except ValueError as caught:
        assert f"as many workers as the code, {world.size}, got {world.size - 1}" in str(caught)
    try:
        t.exchange({17: b""}, 1, lambda messages: b"")
    except ValueError as caught:
        assert "got worker 17" in str(caught)
    t.close()
    t.close()
    try:
        t.exchange({}, 1, lambda messages: b"")
    except RuntimeError as caught:
        assert "closed" in str(caught)
    else:
        raise AssertionError("no error")
    with transport("sharded") as t:
        assert t.device is None
        try:
            t.exchange({}, 1, lambda messages: b"")
        except ValueError as caught:
            assert "needs messages that can be cut" in str(caught)
        else:
            raise AssertionError("no error")
