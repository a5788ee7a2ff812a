"""Elections over torch.distributed in which somebody lies, is late, or goes away."""

from __future__ import annotations

import os
import sys
import time

import torch
import torch.distributed as dist
from checks import raised
from elections import Failing, Tampering, expected, garbage_of, gradients, same, vote
from torch_votes import D, counts, transport, workers

import electioncode as ec
from electioncode.election import Election
from electioncode.transport import TorchTransport, gloo, ranks

EXPECTED_STATUS = {1: 7} if "dies" in sys.argv else {}
GARBAGE = {
    **garbage_of(D),
    "overlong": lambda m, before: bytes(4 << 20),
    "silent": lambda m, before: None,
}


def garbage(topology: str) -> None:
    """Worker 1 sends garbage in one step: its vote is left out then, and nothing else happens."""
    code = ec.uncoded(workers(topology))
    liar = dist.get_rank() == 1 + (topology == "server")
    for name, change in GARBAGE.items():
        if topology == "sharded" and name == "d":
            continue  # some of its parts are as long as they should be
        t = transport(topology)
        tampering = Tampering(t)
        with Election(code, tampering if liar else t) as election:
            for step in range(3):
                tampering.change = change if step == 1 else None
                x = gradients(code, D, step)
                winner = vote(election, x)
                if not (liar and topology == "allgather"):  # which believes itself
                    same(winner, expected(code, x, step, {1} if step == 1 else set()), (name, step))
            if counts(t) and not liar:
                assert election.stats.abstentions == {1: 1}, (name, election.stats)


def malformed_mail() -> None:
    """Bytes that are not a message of this transport count as no message: short, or with another header or round."""
    t = transport("allgather")
    peers = [r for r in range(t.num_workers) if r != 1]
    wrong = [b"", b"x", bytes(16), gloo.HEADER.pack(0, 8) + bytes(8), gloo.HEADER.pack(2**64 - 1, 2**64 - 3)]
    for number, data in enumerate(wrong):
        seen = []
        if t.rank == 1:
            t._exchanges += 1
            tag = ranks.ROUNDS * t._exchanges
            for peer in peers:
                t._mail._gloo.send([torch.tensor(list(data), dtype=torch.uint8)], peer, tag).wait()
            t._mail.round(tag, {}, peers, 100, None)
        else:
            t.exchange({t.rank: b"message"}, 100, lambda m, seen=seen: seen.extend(m) or b"result")
            heard = [None if m is None else bytes(m) for m in seen]
            assert heard == [b"message", None, *[b"message"] * (t.num_workers - 2)], (number, heard)
    dist.barrier()
    t.close()


def late(topology: str) -> None:
    """Worker 0 is late in step 1: the others go on, and its late message is never taken for a later one."""
    code = ec.uncoded(workers(topology))
    slow = dist.get_rank() == (topology == "server")
    with Election(code, transport(topology, timeout=0.5)) as election:
        for step in range(4):
            dist.barrier()
            if slow and step == 1:
                time.sleep(1.0)
            x = gradients(code, D, step)
            winner = vote(election, x)
            if not (slow and topology == "allgather" and step == 1):  # it has heard everybody, itself too
                same(winner, expected(code, x, step, {0} if step == 1 else set()), step)
        if counts(election.transport) and not slow:
            assert election.stats.abstentions == {0: 1}, election.stats


def behind() -> None:
    """Worker 0 sleeps while the server goes on without it; then it gets the results that it missed."""
    code = ec.uncoded(dist.get_world_size() - 1)
    x = gradients(code, D, 0)
    winners = []
    with Election(code, TorchTransport()) as election:
        for step in range(8):
            if step == 6:
                dist.barrier()
            if dist.get_rank() == 1 and step == 2:
                time.sleep(0.5)
            election.transport.timeout = 0.1 if dist.get_rank() == 0 and 2 <= step < 6 else 5
            winners.append(vote(election, x))
        for step in (0, 1, 6, 7):
            same(winners[step], expected(code, x, step), step)
        if dist.get_rank() == 0:
            assert 1 <= election.stats.abstentions[0] <= 4, election.stats
    everybodys = [None] * dist.get_world_size()
    dist.all_gather_object(everybodys, [w.words.tobytes() for w in winners])
    assert all(theirs == everybodys[0] for theirs in everybodys)


def far_behind() -> None:
    """Results for a worker that does not fetch them are kept, up to a limit; then it is told so, and goes on."""
    code = ec.uncoded(dist.get_world_size() - 1)
    x = gradients(code, D, 0)
    before = gloo.MAX_UNFETCHED, gloo.MAX_LATE
    gloo.MAX_UNFETCHED, gloo.MAX_LATE = 4, 100
    with Election(code, TorchTransport(timeout=5)) as election:
        lagging = dist.get_rank() == 1
        winners = []
        if not lagging:
            election.transport.timeout = 0.1 if dist.get_rank() == 0 else 5
            winners = [vote(election, x) for _ in range(7)]
            election.transport.timeout = 5
        dist.barrier()
        if lagging:
            winners = [vote(election, x) for _ in range(4)]
            for _ in range(3):
                raised(lambda: vote(election, x), RuntimeError, "was left out")
        dist.barrier()
        same(vote(election, x), expected(code, x, 7), "all together again")
    everybodys = [None] * dist.get_world_size()
    dist.all_gather_object(everybodys, [w.words.tobytes() for w in winners[:4]])
    assert all(theirs == everybodys[0] for theirs in everybodys)
    gloo.MAX_UNFETCHED, gloo.MAX_LATE = before


def silent_for_long() -> None:
    """A worker that says nothing costs no memory beyond a limit, and is heard again when it has caught up."""
    code = ec.uncoded(dist.get_world_size())
    x = gradients(code, D, 0)
    before = gloo.MAX_LATE
    gloo.MAX_LATE = 3
    with Election(code, TorchTransport(topology="allgather", timeout=0.05)) as election:
        mute = dist.get_rank() == 1
        for step in range(6):
            if not mute:
                same(vote(election, x), expected(code, x, step, {1}), step)
                assert len(election.transport._mail._peers[1].inbound.pending) <= 3
        dist.barrier()
        election.transport.timeout = 5
        if mute:
            for _ in range(6):
                vote(election, x)
        dist.barrier()
        for step in range(6, 6 + 2 * gloo.MAX_UNFETCHED):
            if step < 9:
                time.sleep(0.1)  # for what it owes, three messages at a time
                vote(election, x)
            else:
                same(vote(election, x), expected(code, x, step), "all together again")
        assert not election.transport._mail._peers[0 if mute else 1].expected
    gloo.MAX_LATE = before


def silent_server() -> None:
    """Workers do not wait forever; the result that comes late is not taken for the next one."""
    code = ec.uncoded(dist.get_world_size() - 1)
    x, y = gradients(code, D, 0), gradients(code, D, 1)
    server = dist.get_rank() == 0
    with Election(code, TorchTransport(timeout=5 if server else 0.1)) as election:
        if not server:
            raised(lambda: vote(election, x), TimeoutError, "from the server (rank 0) within 3 * timeout = 0.3")
            assert election.step == 1 and election.stats.steps == 0
            election.transport.timeout = 5
            dist.barrier()
        else:
            dist.barrier()
            same(vote(election, x), expected(code, x, 0), "the votes did come")
        dist.barrier()
        same(vote(election, y), expected(code, y, 1), "next")


def failing_server() -> None:
    """An error where votes are counted ends the step everywhere, and nobody waits."""
    for topology, counts_at_all in (("server", False), ("sharded", True)):
        t = transport(topology)
        decode = Failing(t.rank == 0)
        wrong = (ZeroDivisionError, "") if t.rank == 0 else (RuntimeError, "no result from")
        raised(lambda t=t, decode=decode: t.exchange({w: b"message" for w in t.workers}, 100, decode), *wrong)
        decode.fails = False
        again = t.exchange({w: b"message" for w in t.workers}, 100, decode)
        assert bytes(again) == b"result" * (t.num_workers if counts_at_all else 1)
        t.close()


def quorum(topology: str) -> None:
    """Without a quorum all ranks raise the same error, nobody hangs, and the next step works."""
    n = workers(topology)
    code = ec.uncoded(n)
    t = transport(topology)
    silent = dist.get_rank() == (topology == "server")
    tampering = Tampering(t)
    with Election(code, tampering if silent else t, tie="random", quorum=n) as election:
        for step in range(3):
            tampering.change = lambda m, before, step=step: None if step == 1 else m
            x = gradients(code, D, step)
            try:
                winner = vote(election, x)
            except ec.QuorumError as error:
                assert (error.step, error.quorum, error.missing) == (1, n, (0,)), error
            else:
                assert step != 1
                same(winner, expected(code, x, step, tie="random"), step)
        assert election.stats.refused == 1 and election.stats.steps == 2
        assert election.stats.missing == {1: (0,)}
        assert election.stats.abstentions == ({0: 1} if counts(t) else {})


def dies() -> None:
    """The death of a worker costs its vote and nothing else."""
    elections = []
    for topology, gone in (("server", 0), ("allgather", 1)):
        election = Election(ec.uncoded(workers(topology)), transport(topology))
        x = gradients(election.code, D, 0)
        same(vote(election, x), expected(election.code, x, 0), "all")
        elections.append((election, x, gone))
    if dist.get_rank() == 1:
        os._exit(7)
    for election, x, gone in elections:
        for step in (1, 2):
            same(vote(election, x), expected(election.code, x, step, {gone}), step)
        if counts(election.transport):
            assert election.stats.abstentions == {gone: 2}
        election.close()
    sys.stdout.flush()
    os._exit(0)  # the barrier after a scenario would wait for the dead
