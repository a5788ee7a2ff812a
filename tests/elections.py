"""What tests of elections over several processes share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import electioncode as ec
from electioncode.election import Election
from electioncode.transport import InProcessTransport


def gradients(code: ec.AllocationCode, d: int, seed: int) -> np.ndarray:
    """(k, d) with zeros in it, the same in every process."""
    x = np.random.default_rng(seed).standard_normal((code.num_partitions, d)).astype(np.float32)
    x[np.abs(x) < 0.1] = 0
    return x


def cast(election: Election, x: np.ndarray) -> None:
    for partition in election.partitions:
        election.cast(partition, x[partition])


def vote(election: Election, x: np.ndarray) -> ec.PackedSigns:
    cast(election, x)
    return election.resolve(x.shape[1])


class Without(InProcessTransport):
    """All workers in one process, of whom some are silent."""

    def __init__(self, num_workers: int, silent: set[int]) -> None:
        super().__init__(num_workers)
        self.silent = silent

    def exchange(self, messages, max_bytes, decode):
        heard = {worker: message for worker, message in messages.items() if worker not in self.silent}
        return super().exchange(heard, max_bytes, decode)


def expected(code: ec.AllocationCode, x: np.ndarray, step: int, silent: set[int] = frozenset(), **policies):
    """The winner of one step by an election in one process, without some workers."""
    election = Election(code, Without(code.num_workers, silent), **policies)
    election.step = step
    return vote(election, x)


class Tampering:
    """A transport that sends something else; this process's own messages only."""

    def __init__(self, inner, change: Callable) -> None:
        self.inner, self.change, self.before = inner, change, None

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def exchange(self, messages, max_bytes, decode):
        sent = {}
        for worker, message in messages.items():
            now = bytes(message)
            changed = self.change(now, self.before)
            self.before = now
            if changed is not None:
                sent[worker] = changed
        return self.inner.exchange(sent, max_bytes, decode)
