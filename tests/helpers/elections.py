"""Cast, vote and tamper: what tests of elections share."""

from __future__ import annotations

from collections.abc import Callable, Container

import numpy as np

import electioncode as ec
from electioncode import frame
from electioncode.election import Election
from electioncode.transport import InProcessTransport


def gradients(code: ec.AllocationCode, d: int, seed: int) -> np.ndarray:
    """Return a (k, d) array with zeros in it, the same in every process."""
    x = np.random.default_rng(seed).standard_normal((code.num_partitions, d)).astype(np.float32)
    x[np.abs(x) < 0.1] = 0
    return x


def cast(election: Election, x: np.ndarray) -> None:
    for partition in election.partitions:
        election.cast(partition, x[partition])


def same(winner: ec.PackedSigns, other: ec.PackedSigns, what: object) -> None:
    assert winner == other, what


def vote(election: Election, x: np.ndarray) -> ec.PackedSigns:
    cast(election, x)
    return election.resolve(x.shape[1])


class Without(InProcessTransport):
    """A transport for all workers in one process, some of them silent."""

    def __init__(self, num_workers: int, silent: set[int]) -> None:
        super().__init__(num_workers)
        self.silent = silent

    def exchange(self, messages, max_bytes, decode):
        heard = {worker: message for worker, message in messages.items() if worker not in self.silent}
        return super().exchange(heard, max_bytes, decode)


def expected(code: ec.AllocationCode, x: np.ndarray, step: int, silent: set[int] = frozenset(), **policies):
    """Return the winner of one step by an election in one process, without some workers."""
    election = Election(code, Without(code.num_workers, silent), **policies)
    election.step = step
    return vote(election, x)


class Tampering:
    """A transport on which some of this process's workers, or all, send something else.

    Args:
        inner: the transport that carries the messages.
        change: (message, this worker's message before) -> what is sent in its place, None for nothing. Without a
            change everybody is honest.
        workers: those that do it; all of this process unless given.
    """

    def __init__(self, inner, change: Callable | None = None, workers: Container[int] | None = None) -> None:
        self.inner, self.change, self.dishonest = inner, change, workers
        self.before: dict[int, bytes] = {}

    def __getattr__(self, name):
        return getattr(self.inner, name)

    @property
    def device(self):
        return self.inner.device

    def exchange(self, messages, max_bytes, decode):
        sent = {}
        for worker, message in messages.items():
            sent[worker] = now = bytes(np.asarray(message))
            if self.change and (self.dishonest is None or worker in self.dishonest):
                sent[worker] = self.change(now, self.before.get(worker))
            self.before[worker] = now
        return self.inner.exchange({w: m for w, m in sent.items() if m is not None}, max_bytes, decode)


class Failing:
    """A decoder that raises on request; it cuts a message into equal ones."""

    def __init__(self, fails: bool) -> None:
        self.fails = fails

    def __call__(self, received, part=(0, 1)):
        return 1 // 0 if self.fails else b"result"

    def split(self, message, parts):
        return [message] * parts

    def join(self, results):
        return b"".join(bytes(result) for result in results)


def resigned(message: bytes, **changes: int) -> bytes:
    """Return the same votes in a well-signed frame with another step, sender or d."""
    votes = frame.decode(message)
    if "d" in changes:
        votes = ec.pack(np.ones(changes["d"]))
    return frame.encode(votes, step=changes.get("step", 1), sender=changes.get("sender", 1)).tobytes()


def garbage_of(d: int) -> dict[str, Callable]:
    """Return what worker 1 may send in place of its votes of step 1, by name: changes for :class:`Tampering`."""
    return {
        "random": lambda m, before: np.random.default_rng(1).bytes(len(m)),
        "empty": lambda m, before: b"",
        "one": lambda m, before: b"E",
        "short": lambda m, before: m[:-8],
        "longer": lambda m, before: m + bytes(8),
        "stale": lambda m, before: before,
        "flip": lambda m, before: m[:-9] + bytes([m[-9] ^ 16]) + m[-8:],
        "sender": lambda m, before: resigned(m, sender=2),
        "step": lambda m, before: resigned(m, step=2),
        "d": lambda m, before: resigned(m, d=d - 1),
    }
