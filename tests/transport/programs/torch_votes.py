"""Elections over torch.distributed that go well: the same bits as in one process."""

from __future__ import annotations

import itertools
import time
import warnings

import numpy as np
import torch
import torch.distributed as dist
from checks import raised
from elections import expected, gradients, same, vote

import electioncode as ec
from electioncode import attacks, frame
from electioncode.election import Election
from electioncode.transport import TorchTransport, Transport, collective, gloo, ranks

D = 3000


def workers(topology: str) -> int:
    return dist.get_world_size() - (topology == "server")


def transport(topology: str, **options) -> TorchTransport:
    return TorchTransport(topology=topology, trusted_workers=topology == "sharded", **options)


def counts(t: TorchTransport) -> bool:
    return t.topology != "server" or t.rank == 0


def by_collectives(topology: str) -> None:
    """What NCCL would do, on Gloo: a group and collectives on the CPU, and frames, as where there are no kernels."""
    mail, gloo.Mail = gloo.Mail, lambda group: collective.Mail(group, torch.device("cpu"))
    TorchTransport.device = None
    try:
        equal(topology)
        bytes_on_the_wire(topology, own_header=False)
        limit(topology)
        verified(topology)
    finally:
        gloo.Mail = mail
        del TorchTransport.device


def equal(topology: str) -> None:
    """Every process gets the bits of the in-process election, for every code, policy, size and attack."""
    n = workers(topology)
    liars = {0: attacks.reverse(), n - 1: attacks.random(seed=3)}
    policies = (("plus", "plus"), ("random", "random"), ("abstain", "abstain"), ("minus", "random"))
    codes = [ec.uncoded(n), ec.cyclic(n, min(n, 2)), ec.bernoulli(n, redundancy=min(n, 2), seed=1)]
    for code, (tie, zero) in itertools.product(codes, policies):
        rules = {"tie": tie, "zero": zero, "seed": 7, "byzantine": {} if tie == "minus" else liars}
        with Election(code, transport(topology, verify_every=2), **rules) as election:
            assert isinstance(election.transport, Transport)
            for step, d in enumerate((1, 1000, 65, 0, 200_000) if tie == "plus" else (100, 1, 1000)):
                x = gradients(code, d, step)
                same(vote(election, x), expected(code, x, step, **rules), (topology, code.name, tie, zero, d))
            assert election.stats.abstentions == {}


def bytes_on_the_wire(topology: str, own_header: bool = True) -> None:
    """A process sends and receives as many bytes as the documentation says."""
    n, d = workers(topology), 64 * 5 * 3 * 4 * 10
    size = frame.frame_bytes(d)
    with Election(ec.uncoded(n), transport(topology)) as election:
        for step in range(3):
            vote(election, gradients(election.code, d, step))
        peers = 1 if topology == "server" and election.transport.workers else n if topology == "server" else n - 1
        messages, rounds = peers, 1
        if topology == "sharded":
            size, messages, rounds = frame.frame_bytes(d // n), 2 * (n - 1), 2
        per_step = messages * (size + 16)
        if not own_header:  # sizes go in a collective of their own, to all, in every round
            rounds = 2 if topology == "server" else rounds
            per_step = messages * size + rounds * 16 * (dist.get_world_size() - 1)
        assert election.stats.bytes_sent == election.stats.bytes_received == 3 * per_step, election.stats


def limit(topology: str) -> None:
    """The decoder gets what fits max_bytes, and None for what does not or is missing."""
    if topology == "sharded":
        return
    t = transport(topology)
    for size in (100, 1 << 16, 1 << 20):
        seen = []

        def decode(messages, seen=seen):
            seen.extend(None if m is None else len(m) for m in messages)
            return b"result"

        lengths = [size - 1, size, size + 1, None]
        messages = {w: np.zeros(lengths[w], dtype=np.uint8) for w in t.workers if w < 3}
        t.exchange(messages, size, decode)
        if counts(t):
            heard = [size - 1, size, None, None, None][: t.num_workers]
            if t.workers == (2,):
                heard[2] = size + 1  # its own message took no way
            assert seen == heard, (size, seen)
    t.close()


def kinds_of_messages() -> None:
    """Messages may be tensors or buffers, and come as what `decode.device` says: buffers, or tensors on the device."""
    mail = gloo.Mail
    for device in (None, torch.device("cpu")):
        if device is not None:
            gloo.Mail = lambda group: collective.Mail(group, torch.device("cpu"))
        for topology in ("server", "allgather"):
            with transport(topology) as t:
                assert t.device == device
                for wanted in {None, device}:
                    kind = np.ndarray if wanted is None else torch.Tensor

                    def decode(received, kind=kind):
                        assert all(isinstance(m, kind) and len(m) == 3 for m in received)
                        return received[0]

                    decode.device = wanted
                    for message in (torch.arange(3, dtype=torch.uint8), np.arange(3, dtype=np.uint8)):
                        result = t.exchange({w: message for w in t.workers}, 3, decode)
                        assert isinstance(result, kind) and bytes(np.asarray(result)) == b"\0\1\2"
    gloo.Mail = mail


def verified(topology: str) -> None:
    """A rank with a different result is named to the others, and is told so itself."""
    t = transport(topology, verify_every=2)
    odd = dist.get_world_size() - 1

    def decode(messages, part=None):
        return frame.encode(ec.pack(np.ones(64)))

    decode.split, decode.join = frame.split, frame.join
    original = ranks.hashlib.blake2b
    for step in range(4):
        if step == 3 and t.rank == odd:
            ranks.hashlib.blake2b = lambda data, **k: original(bytes(data) + b"x", **k)
        messages = {w: frame.encode(ec.pack(np.ones(640))) for w in t.workers}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if step == 3 and t.rank == odd:
                text = f"exchange 4: rank {odd} disagrees with the majority of ranks (differing ranks: [{odd}])"
                raised(lambda m=messages: t.exchange(m, 1000, decode), RuntimeError, text)
            else:
                t.exchange(messages, 1000, decode)
        texts = [str(w.message) for w in caught]
        named = [f"exchange 4: ranks [{odd}] report results that differ from the majority's"]
        assert texts == (named if step == 3 and t.rank != odd else []), (step, texts)
    ranks.hashlib.blake2b = original
    t.close()


def subgroups() -> None:
    """Two elections at once, on two halves of the world; ranks and workers are those of the group."""
    rank, size = dist.get_rank(), dist.get_world_size()
    half = [r for r in range(size) if r % 2 == rank % 2]
    group = dist.new_group(half, use_local_synchronization=True)
    code = ec.uncoded(len(half))
    with Election(code, TorchTransport(group, topology="allgather")) as election:
        assert election.transport.workers == (half.index(rank),)
        for step in range(3):
            x = gradients(code, 20_000, 10 * step + rank % 2)
            same(vote(election, x), expected(code, x, step), (rank % 2, step))
    dist.destroy_process_group(group)


def apart() -> None:
    """Two transports and the user's own messages do not mix, in whatever order they are used."""
    code = ec.uncoded(dist.get_world_size() - 1)
    first = Election(code, TorchTransport(timeout=5 if dist.get_rank() else 0.5))
    second = Election(code, TorchTransport(timeout=5))
    x, y = gradients(code, 1000, 1), gradients(code, 1000, 2)
    if dist.get_rank() == 1:  # its vote on the second waits at rank 0 while that misses it on the first
        winners = [vote(second, y), vote(first, x)][::-1]
    else:
        winners = [vote(first, x), vote(second, y)]
    same(winners[0], expected(code, x, 0, {0}), "first")
    same(winners[1], expected(code, y, 0), "second")
    first.close()
    second.close()


def unclosed() -> None:
    """A transport that nobody closes ends with its process, and its last result arrives."""
    election = Election(ec.uncoded(dist.get_world_size() - 1), TorchTransport())
    x = gradients(election.code, 1 << 20, 0)
    if dist.get_rank() == 2:
        time.sleep(0.3)
    same(vote(election, x), expected(election.code, x, 0), "unclosed")


def misuse() -> None:
    t = TorchTransport()
    n = dist.get_world_size()
    raised(lambda: Election(ec.uncoded(n), t), ValueError, f"as many workers as the code, {n}, got {n - 1}")
    raised(lambda: t.exchange({17: b""}, 1, lambda m: b""), ValueError, "got worker 17")
    t.close()
    t.close()
    raised(lambda: t.exchange({}, 1, lambda m: b""), RuntimeError, "closed")
    t = transport("sharded")
    assert t.device is None
    raised(lambda: t.exchange({}, 1, lambda m: b""), ValueError, "needs messages that can be cut")
    t.close()
    raised(lambda: TorchTransport(topology="ring"), ValueError, "topology must be one of 'server', 'allgather'")
    raised(lambda: TorchTransport(topology="sharded"), ValueError, "trusted_workers=True")
    raised(lambda: TorchTransport(timeout=0), ValueError, "timeout must be above 0")
    raised(lambda: TorchTransport(verify_every=-1), ValueError, "verify_every must be at least 0")
    alone = dist.new_group([dist.get_rank()], use_local_synchronization=True)
    raised(lambda: TorchTransport(alone), ValueError, "needs at least 2 processes")
    with Election(ec.uncoded(1), TorchTransport(alone, topology="allgather", timeout=1)) as election:
        x = gradients(election.code, 100, 0)
        same(vote(election, x), expected(election.code, x, 0), "alone")
