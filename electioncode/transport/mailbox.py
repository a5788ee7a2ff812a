"""Move messages between MPI processes, by mpi4py.

Only point-to-point messages on a duplicate of the communicator, in every topology, for three reasons:

* A waiting process polls and sleeps, so it leaves the core to others whatever MPI it runs on. (MPI's own waiting spins;
  with more processes than cores that costs more than the message.)
* A silent process costs its vote and not the job: a collective would wait for it indefinitely.
* A message is looked at before it is received. MPI calls a message longer than its buffer an error, and some versions
  write beyond it, so no buffer is posted before the length is known.

The tag is twice the number of the round, plus one where it says that there is no message; so late messages are told
apart from those of this round, and dropped.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from electioncode.transport.base import Pool

MAX_UNFETCHED: Final = 16  # messages kept for a peer that does not fetch them
_ALWAYS_DRAINED: Final = 1 << 20  # bytes of an overlong message that are received just to be rid of it
_DROPS_PER_POLL: Final = 16  # so that a peer that floods does not keep this process from the others
_SPIN_SECONDS = 2e-4  # first just offer the core to others: a message is often already on its way
_SHORTEST_SLEEP, _LONGEST_SLEEP = 5e-5, 1e-3


class Mail:
    """The messages of one process: an inbox for each peer, and an outbox for all. See `ranks.Mail`."""

    device = None

    def __init__(self, mpi: Any, comm: Any) -> None:
        _meet(comm)
        self._comm = comm.Dup()
        self._tags = 1 << (mpi.COMM_WORLD.Get_attr(mpi.TAG_UB) + 1).bit_length() - 1  # a power of two, 2**15 or more
        peers = (r for r in range(comm.Get_size()) if r != comm.Get_rank())
        self._inboxes = {peer: Inbox(mpi, self._comm, peer, self._tags) for peer in peers}
        self._outbox = Outbox(mpi, self._comm)
        self.problems: dict[int, str] = {}
        self.bytes_sent = self.bytes_received = 0

    def round(
        self, tag: int, outgoing: Mapping[int, Any], sources: Iterable[int], max_bytes: int, timeout: float | None
    ) -> dict[int, np.ndarray | None]:
        """See `ranks.Mail.round`."""
        peers: dict[int, list[int]] = {}  # the same message to many peers is copied once
        for target, message in outgoing.items():
            peers.setdefault(id(message), []).append(target)
        for targets in peers.values():
            message = outgoing[targets[0]]
            self._outbox.send(message, targets, (2 * tag + (message is None)) % self._tags)
        self.problems = {}
        received: dict[int, np.ndarray | None] = dict.fromkeys(sources)
        waiting = [self._inboxes[source] for source in received]
        deadline = None if timeout is None else time.monotonic() + timeout
        backoff = Backoff()
        while waiting:
            still = []
            for inbox in waiting:
                message = inbox.poll(2 * tag, max_bytes)
                if message is None:
                    still.append(inbox)
                elif isinstance(message, str):
                    self.problems[inbox.peer] = message
                else:
                    received[inbox.peer] = message
            moved, waiting = len(still) < len(waiting), still
            self._outbox.progress()
            if moved:
                backoff = Backoff()
            elif deadline is not None and time.monotonic() >= deadline:
                break
            else:
                backoff.wait(busy=self._outbox.is_busy or any(inbox.is_busy for inbox in waiting))
        self.bytes_sent = self._outbox.num_bytes
        self.bytes_received = sum(inbox.num_bytes for inbox in self._inboxes.values())
        return received

    def close(self, patience: float) -> None:
        """Wait for sends under way. Unfinished sends keep their buffers alive until MPI is done."""
        deadline = time.monotonic() + patience
        backoff = Backoff()
        while self._outbox.is_busy and time.monotonic() < deadline:
            backoff.wait(busy=True)
            self._outbox.progress()
        if self._outbox.is_busy:
            self._outbox.abandon()
            self._comm = None

    def free(self) -> None:
        """Free the communicator after close, unless something is under way; all processes do this together."""
        if self._comm is not None and not any(inbox.is_busy for inbox in self._inboxes.values()):
            self._comm.Free()
        self._comm = None


class Inbox:
    """Messages from one peer, one at a time, each into memory of its own size."""

    def __init__(self, mpi: Any, comm: Any, peer: int, tags: int) -> None:
        self.peer = peer
        self.num_bytes = 0
        self._mpi = mpi
        self._comm = comm
        self._tags = tags
        self._status = mpi.Status()
        self._buffer = np.empty(0, dtype=np.uint8)
        self._request: Any = None
        self._message = self._buffer
        self._tag = 0
        self._longest = 0  # max_bytes so far: a late message of an earlier round may be longer than those of this one
        self._deaf = False

    @property
    def is_busy(self) -> bool:
        """Whether a message is being received."""
        return self._request is not None

    def poll(self, tag: int, max_bytes: int) -> np.ndarray | str | None:
        """Return the message with this tag (valid until the next call), None if it may yet come, or why it is lost.

        Drops messages of earlier rounds. Messages of one peer do not overtake each other, so one of a later round means
        that this one will not come; it is left where it is until its turn.
        """
        if self._deaf:
            return "it sent a message far too long to receive, or its connection failed"
        self._longest = max(self._longest, max_bytes)
        try:
            for _ in range(_DROPS_PER_POLL):
                if self._request is None:
                    if not self._comm.Iprobe(self.peer, self._mpi.ANY_TAG, self._status):
                        break
                    size, self._tag = self._status.Get_count(self._mpi.BYTE), self._status.Get_tag()
                    if 1 < (self._tag - tag) % self._tags < self._tags // 2:
                        return "its message was left out, for one of a later round has come"
                    if not 0 <= size <= max(2 * self._longest, _ALWAYS_DRAINED):
                        # Too large to receive, and MPI cannot skip it. No honest peer sends this: stop listening to it.
                        self._deaf = True
                        return f"{max_bytes} bytes at most expected, got {size}"
                    if size > self._buffer.size:
                        self._buffer = np.empty(size, dtype=np.uint8)
                    self._message = self._buffer[:size]
                    self._request = self._comm.Irecv([self._message, self._mpi.BYTE], self.peer, self._tag)
                if not self._request.Test():
                    break
                self._request = None
                self.num_bytes += self._message.size
                ahead = (self._tag - tag) % self._tags
                if ahead == 1:
                    return "it sent no message"
                if ahead == 0 and self._message.size > max_bytes:
                    return f"{max_bytes} bytes at most expected, got {self._message.size}"
                if ahead == 0:
                    return self._message
        except self._mpi.Exception as error:  # the peer is gone, as far as MPI can tell
            self._deaf = True
            return str(error)
        return None


class Outbox:
    """Messages under way. Each is copied, and its memory kept until MPI has read it for all peers."""

    def __init__(self, mpi: Any, comm: Any) -> None:
        self.num_bytes = 0
        self._mpi = mpi
        self._comm = comm
        self._pending: list[tuple[np.ndarray, dict[int, Any]]] = []  # memory, peer -> request
        self._pool = Pool(2)

    @property
    def is_busy(self) -> bool:
        """Whether messages are under way (never once MPI has been finalized)."""
        return bool(self._pending) and not self._mpi.Is_finalized()

    def send(self, message: Any, peers: Iterable[int], tag: int) -> None:
        """Start to send to all peers, except those that have left MAX_UNFETCHED messages unfetched."""
        self.progress()
        data = np.frombuffer(message, dtype=np.uint8) if message is not None and len(message) else np.empty(0, np.uint8)
        memory = self._pool.take(data.size)
        memory[:] = data
        unfetched = Counter(peer for _, requests in self._pending for peer in requests)
        under_way = {}
        for peer in peers:
            if unfetched[peer] >= MAX_UNFETCHED:
                continue
            try:
                under_way[peer] = self._comm.Isend([memory, self._mpi.BYTE], peer, tag)
            except self._mpi.Exception:  # the peer is gone: whoever waits for it will notice
                continue
            self.num_bytes += data.size
        self._pending.append((memory, under_way))
        self.progress()

    def progress(self) -> None:
        """Let MPI work, and take back the memory of what has been sent."""
        still = []
        for memory, requests in self._pending:
            requests = {peer: request for peer, request in requests.items() if not self._is_done(request)}
            if requests:
                still.append((memory, requests))
            else:
                self._pool.give(memory)
        self._pending = still

    def abandon(self) -> None:
        """Leave what is under way to MPI, which may read the memory until the very end of the process."""
        for memory, requests in self._pending:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))
            for request in requests.values():
                request.Free()
        self._pending = []

    def _is_done(self, request: Any) -> bool:
        try:
            return request.Test()
        except self._mpi.Exception:
            return True


class Backoff:
    """Waiting that leaves the core to others: yield at first, then sleep longer and longer."""

    def __init__(self) -> None:
        self._spin_until = time.monotonic() + _SPIN_SECONDS
        self._sleep = _SHORTEST_SLEEP

    def wait(self, busy: bool) -> None:
        """Wait once. While a transfer is under way (busy) sleeps stay short: each poll moves a part of it."""
        if time.monotonic() < self._spin_until:
            os.sched_yield() if hasattr(os, "sched_yield") else time.sleep(0)
            return
        time.sleep(_SHORTEST_SLEEP if busy else self._sleep)
        self._sleep = min(2 * self._sleep, _LONGEST_SLEEP)


def _meet(comm: Any) -> None:
    """Meet at a barrier that sleeps, so that early processes do not spin in what MPI does together next."""
    request = comm.Ibarrier()
    backoff = Backoff()
    while not request.Test():
        backoff.wait(busy=False)
