"""Elections over MPI in which somebody lies, is late, or goes away."""

from __future__ import annotations

import os
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
from elections import Failing, Tampering, cast, expected, garbage_of, gradients, same, vote
from mpi4py import MPI
from mpi_ranks import meet, transport

import electioncode as ec
from electioncode.election import Election
from electioncode.transport import MPITransport, mailbox, ranks

world = MPI.COMM_WORLD
D = 3000
HUGE = 4 << 20  # bytes: beyond what is received only to be dropped


GARBAGE = {
    **garbage_of(D),
    "toolong": lambda m, before: m + bytes(1000),
    "overlong": lambda m, before: bytes(900_000),  # beyond every eager limit
}


def counts(t: MPITransport) -> bool:
    return t.topology != "server" or t.rank == 0


def tag(step: int, number: int = 0, no_message: bool = False) -> int:
    """Return the MPI tag of a message in the round with this number in a step."""
    return 2 * (ranks.ROUNDS * (step + 1) + number) + no_message


def garbage(topology: str) -> None:
    """Worker 1 sends garbage in one step: its vote is left out then, and nothing else happens."""
    n = world.size - (topology == "server")
    code = ec.uncoded(n)
    liar = world.rank == 1 + (topology == "server")
    for name, change in GARBAGE.items():
        if topology == "sharded" and name == "d":
            continue  # some of its parts are as long as they should be
        t = transport(topology)
        tampering = Tampering(t)
        with Election(code, tampering if liar else t) as election:
            for step in range(4):
                tampering.change = change if step == 1 else None
                x = gradients(code, D, step)
                winner = vote(election, x)
                if not (liar and topology == "allgather"):  # which believes itself
                    same(winner, expected(code, x, step, {1} if step == 1 else set()), (name, step))
            if counts(t) and not liar:
                assert election.stats.abstentions == {1: 1}, (name, election.stats)


@patch.object(ranks, "CLOSE_SECONDS", 0.2)  # nobody will ever fetch it
def huge(topology: str) -> None:
    """A message that is far too long is never received, and its sender is ignored from then on: no memory, no hang."""
    n = world.size - (topology == "server")
    code = ec.uncoded(n)
    liar = world.rank == 1 + (topology == "server")
    t = transport(topology)
    tampering = Tampering(t)
    with Election(code, tampering if liar else t) as election:
        for step in range(4):
            tampering.change = (lambda m, before: bytes(HUGE)) if step == 1 else None
            x = gradients(code, D, step)
            winner = vote(election, x)
            if not (liar and topology == "allgather"):
                same(winner, expected(code, x, step, {1} if step else set()), step)
        if counts(t) and not liar:
            assert election.stats.abstentions == {1: 3}
            assert t.bytes_received < HUGE
        meet()


def late(topology: str) -> None:
    """Worker 0 is late in step 1: the others go on, and its late message is never taken for a later one."""
    n = world.size - (topology == "server")
    code = ec.uncoded(n)
    slow = world.rank == (topology == "server")
    with Election(code, MPITransport(topology=topology, timeout=0.6)) as election:
        for step in range(4):
            meet()
            if slow and step == 1:
                time.sleep(1.2)
            x = gradients(code, D, step)
            winner = vote(election, x)
            if not (slow and topology == "allgather" and step == 1):  # it has heard everybody, itself too
                same(winner, expected(code, x, step, {0} if step == 1 else set()), step)
        if counts(election.transport) and not slow:
            assert election.stats.abstentions == {0: 1}, election.stats
            assert "no message came in time" in election.stats.reasons[0]


def quorum(topology: str) -> None:
    """Without a quorum all raise the same error, nobody hangs, and the next step works."""
    n = world.size - (topology == "server")
    code = ec.uncoded(n)
    t = transport(topology, timeout=5)
    silent = world.rank == (topology == "server")
    tampering = Tampering(t)
    with Election(code, tampering if silent else t, tie="random", quorum=n) as election:
        for step in range(3):
            meet()
            tampering.change = lambda m, before, step=step: None if step == 1 else m
            x = gradients(code, D, step)
            cast(election, x)
            try:
                winner = election.resolve(D)
            except ec.QuorumError as error:
                assert (error.step, error.quorum, error.missing) == (1, n, (0,)), error
            else:
                assert step != 1
                same(winner, expected(code, x, step, tie="random"), step)
        assert election.stats.refused == 1 and election.stats.steps == 2
        assert election.stats.missing == {1: (0,)}
        assert election.stats.abstentions == ({0: 1} if counts(t) else {})
    assert world.allgather(election.step) == [3] * world.size


def behind() -> None:
    """Worker 0 is late in step 1: the others go on, and its late message is not taken for a later one."""
    code = ec.uncoded(world.size - 1)
    x = gradients(code, D, 0)
    winners = []
    with Election(code, MPITransport()) as election:
        for step in range(8):
            if step == 6:
                meet()
            if world.rank == 1 and step == 2:
                time.sleep(0.5)
            election.transport.timeout = 0.1 if world.rank == 0 and 2 <= step < 6 else 5
            winners.append(vote(election, x))
        for step in (0, 1, 6, 7):
            same(winners[step], expected(code, x, step), step)
        if world.rank == 0:
            assert 1 <= election.stats.abstentions[0] <= 4, election.stats
    # What a worker missed is in the results that it got: all processes saw the same.
    digests = world.allgather([w.words.tobytes() for w in winners])
    assert all(digest == digests[0] for digest in digests)


@patch.object(ranks, "CLOSE_SECONDS", 0.2)  # the last result is never fetched
@patch.object(mailbox, "MAX_UNFETCHED", 4)
def far_behind() -> None:
    """Results for a worker that does not fetch them are kept, up to a limit; then it is told so."""
    code = ec.uncoded(world.size - 1)
    x = [ec.pack(row) for row in gradients(code, 1 << 19, 0)]  # not eager: the memory is the server's
    limit = mailbox.MAX_UNFETCHED

    def step() -> bytes:
        for partition in election.partitions:
            election.cast(partition, x[partition])
        return election.resolve(1 << 19).words.tobytes()

    with Election(code, MPITransport(timeout=5)) as election:
        winners = []
        if world.rank != 1:
            election.transport.timeout = 0.15 if world.rank == 0 else 5
            for _ in range(limit + 5):
                winners.append(step())
                assert len(election.transport._mail._outbox._pending) <= limit + 1
        meet()
        if world.rank == 1:
            winners = [step() for _ in range(limit)]
        meet()
        if world.rank != 1:
            step()
        else:
            try:
                step()
            except RuntimeError as error:
                assert "was left out" in str(error), error
            else:
                raise AssertionError("no error")
        meet()
    everybodys = world.allgather(winners[:limit])
    assert all(kept == everybodys[0] for kept in everybodys)


def silent_server() -> None:
    """Workers do not wait forever; the result that comes late is not taken for the next one."""
    code = ec.uncoded(world.size - 1)
    x, y = gradients(code, D, 0), gradients(code, D, 1)
    with Election(code, MPITransport(timeout=0.1 if world.rank else 5)) as election:
        if world.rank:
            try:
                vote(election, x)
            except TimeoutError as error:
                assert "no result from the server (rank 0) within 3 * timeout = 0.3" in str(error), error
            else:
                raise AssertionError("no error")
            assert election.step == 1 and election.stats.steps == 0
            election.transport.timeout = 5
            meet()
        else:
            meet()
            same(vote(election, x), expected(code, x, 0), "the votes did come")
        meet()
        same(vote(election, y), expected(code, y, 1), "next")


def limit(topology: str) -> None:
    """The decoder gets messages that fit max_bytes and None for longer ones, whether they are sent eagerly or not."""
    t = transport(topology)
    for size in (100, 1 << 16, 1 << 20):
        seen = []

        def decode(messages, seen=seen):
            seen.extend(None if m is None else len(m) for m in messages)
            return b"result"

        lengths = [size - 1, size, size + 1, size]
        messages = {w: np.zeros(lengths[w], dtype=np.uint8) for w in t.workers}
        t.exchange(messages, size, decode)
        if counts(t):
            heard = [size - 1, size, None, size][: t.num_workers]
            if t.workers == (2,):
                heard[2] = size + 1  # its own message took no way
            assert seen == heard, (size, seen)
    t.close()


def failing_server() -> None:
    """An error where votes are counted ends the step everywhere, and nobody waits."""
    for topology in ("server", "sharded"):
        t = transport(topology)
        decode = Failing(world.rank == 0)
        try:
            t.exchange({w: b"message" for w in t.workers}, 100, decode)
        except ZeroDivisionError:
            assert world.rank == 0
        except RuntimeError as error:
            assert world.rank > 0 and "no result from" in str(error), error
        else:
            raise AssertionError("no error")
        decode.fails = False
        again = t.exchange({w: b"message" for w in t.workers}, 100, decode)
        assert bytes(again) == b"result" * (world.size if topology == "sharded" else 1)
        t.close()


def missing_part() -> None:
    """In "sharded", a silent rank loses its vote; if it stays silent while it counts, the step fails."""
    t = transport("sharded", timeout=0.6)
    decode = Failing(False)
    assert t.exchange({t.rank: b"message"}, 100, decode) == b"result" * world.size
    meet()
    if world.rank == 1:
        time.sleep(1.5)
    try:
        t.exchange({t.rank: b"message"}, 100, decode)
    except RuntimeError as error:
        assert "no result from ranks [1] for the coordinates that they count" in str(error), error
        assert world.rank != 1
    else:
        assert world.rank == 1  # all others' results are there
    meet()
    assert t.exchange({t.rank: b"message"}, 100, decode) == b"result" * world.size
    t.close()


def late_before_digests() -> None:
    """A long message that comes late, while ranks compare digests, costs its sender nothing but that message."""
    n = world.size
    t = transport("allgather", timeout=0.6, verify_every=1)
    for step in range(3):
        seen = []
        meet()
        if world.rank == 1 and step == 1:
            time.sleep(1.0)
        t.exchange({t.rank: bytes(3 << 20)}, 3 << 20, lambda m, seen=seen: seen.extend(m) or b"result")
        if world.rank != 1:
            assert [m is None for m in seen] == [step == 1 and r == 1 for r in range(n)], step
    t.close()


@patch.object(mailbox, "MAX_UNFETCHED", 10**6)
def flood() -> None:
    """A worker that sends many messages per step, for this step and others, has one vote and delays nobody."""
    code = ec.uncoded(world.size - 1)
    t = transport("server", timeout=10)
    flooding = world.rank == 1
    with Election(code, t) as election:
        for step in range(5):
            x = gradients(code, D, step)
            cast(election, x)
            if flooding:
                for other in range(step + 1):
                    for _ in range(20):
                        t._mail._outbox.send(bytes(100), [0], tag(other))
            winner = election.resolve(D)
            same(winner, expected(code, x, step, {0}), step)
        if world.rank == 0:
            assert election.stats.abstentions == {0: 5}


def ahead() -> None:
    """A message for a later step is an abstention in this one, without waiting, and is not counted early."""
    code = ec.uncoded(world.size - 1)
    t = transport("server")
    with Election(code, t) as election:
        for step in range(4):
            x = gradients(code, D, step)
            cast(election, x)
            if world.rank == 1 and step == 1:
                t._mail._outbox.send(bytes(100), [0], tag(2))
            winner = election.resolve(D)
            same(winner, expected(code, x, step, {0} if step in (1, 2) else set()), step)


@patch.object(ranks, "CLOSE_SECONDS", 0.1)
def unclosed() -> None:
    """Results reach a worker that fetches them after the server has closed, or just gone on."""
    code = ec.uncoded(world.size - 1)
    x = gradients(code, 1 << 20, 0)
    for close in (True, False):
        election = Election(code, MPITransport())
        if world.rank == 0:
            winner = vote(election, x)
            if close:
                election.close()
            del election
        else:
            for partition in election.partitions:
                election.cast(partition, x[partition])
            inbox = election.transport._mail._inboxes[0]
            fetch, start = inbox.poll, time.monotonic()

            def poll(tag, max_bytes, fetch=fetch, start=start):
                return fetch(tag, max_bytes) if time.monotonic() > start + 0.5 else None

            inbox.poll = poll
            winner = election.resolve()
        same(winner, expected(code, x, 0), "after all")


@patch.object(ranks, "CLOSE_SECONDS", 0.2)
def leaves(how: str, survivors: str = "") -> None:
    """A worker goes away after a step: in order, by an error, or by dying."""
    code = ec.uncoded(world.size - 1)
    election = Election(code, MPITransport())
    x = gradients(code, D, 0)
    same(vote(election, x), expected(code, x, 0), "all")
    election.transport.timeout = 0.6
    if world.rank == 1:
        if how == "dies":
            os._exit(3)
        if how == "raises":
            raise ValueError("this worker has had enough")
        return
    for step in (1, 2):
        same(vote(election, x), expected(code, x, step, {0}), step)
    election.close()
    Path(survivors, str(world.rank)).touch()
    if how == "dies":
        while len(os.listdir(survivors)) < world.size - 1:
            time.sleep(1e-2)
        os._exit(0)  # MPI's own end may wait for the dead
