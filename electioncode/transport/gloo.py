"""Move messages from peer to peer over Gloo, where a silent peer costs its own message and nothing else.

What torch.distributed offers for that has three traps, which this file is about:

* A wait that times out closes every connection of the group, and there is no other way to learn that a message has
  come. So each peer has two threads that wait, without limit: one for what it sends, one for what it is sent. The
  deadline is that of the queue into which they put what is done.
* A message longer than its receiver's buffer ends the receiving process. So nobody sends more than the number of bytes
  that all agreed on; a longer message is announced, and left out. (Gloo itself cannot be made safe against a peer that
  writes to its sockets: see TorchTransport.)
* A message carries no length. So each begins with a header: its tag, and the bytes that follow.

A late message is received when it comes, only to be dropped.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Any, Final

import numpy as np
import torch
import torch.distributed as dist

from electioncode.transport.base import Pool

HEADER: Final = struct.Struct("<QQ")  # tag; bytes that follow, or one of:
NO_MESSAGE: Final = 2**64 - 1  # there is none
LEFT_OUT: Final = 2**64 - 2  # there was one, but the receiver has not fetched those before
MAX_UNFETCHED: Final = 16  # messages kept for a peer that does not fetch them
MAX_LATE: Final = 16  # messages of one peer that are still waited for
_MAX_NOTICES: Final = 4096  # then a peer that fetches nothing is given up
_CONNECT: Final = timedelta(minutes=30)
_INDEFINITELY: Final = timedelta(days=365)
_JOIN_SECONDS: Final = 1.0
_TAGS: Final = 1 << 30


class Mail:
    """The messages of one process, on connections of its own to the processes of a group. See `ranks.Mail`."""

    device = None

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.bytes_sent = 0
        self.bytes_received = 0
        self.problems: dict[int, str] = {}
        # Not dist.new_group: it needs the whole world, or else names groups so that a new one finds the addresses of a
        # destroyed one of the same ranks.
        rank, size, store = group.rank(), group.size(), group.get_group_store()
        name = f"electioncode/{store.add(f'electioncode/{rank}', 1)}"
        self._gloo: Any = dist.ProcessGroupGloo(dist.PrefixStore(name, store), rank, size, _CONNECT)
        self._events: SimpleQueue[tuple[_Line, str | None]] = SimpleQueue()
        self._peers = {r: _Peer(self._events) for r in range(size) if r != rank}
        self._tag = 0
        self._arrived: dict[int, np.ndarray] = {}
        self._pool = Pool(size - 1)

    def round(
        self, tag: int, outgoing: Mapping[int, Any], sources: Iterable[int], max_bytes: int, timeout: float | None
    ) -> dict[int, np.ndarray | None]:
        """See `ranks.Mail.round`."""
        while self._await_transfer(0.0):  # what has ended since the last round
            pass
        for memory in self._arrived.values():
            self._pool.give(memory)
        self._tag, self._arrived, self.problems = tag, {}, {}
        waiting = {source for source in sources if self._expect(source, max_bytes)}
        self._send(outgoing, max_bytes)
        deadline = None if timeout is None else time.monotonic() + timeout
        while not waiting <= self._arrived.keys() | self.problems.keys() and self._await_transfer(deadline):
            pass
        return {source: self._open(source, max_bytes) if source in self._arrived else None for source in sources}

    def _expect(self, source: int, max_bytes: int) -> bool:
        """Start to receive what a peer sends in this round, and before that what it still owes."""
        peer = self._peers[source]
        peer.expected.append((self._tag, HEADER.size + max_bytes))
        while peer.problem is None and peer.expected and len(peer.inbound.pending) < MAX_LATE:
            tag, size = peer.expected.popleft()
            memory = self._pool.take(size)
            memory[: HEADER.size] = 0  # a message shorter than a header leaves this
            try:
                work = self._gloo.recv([torch.from_numpy(memory)], source, tag % _TAGS)
            except RuntimeError as error:  # the peer is gone
                peer.problem = str(error)
            else:
                peer.inbound.wait_for(work, tag, memory, source)
        if peer.problem is not None:
            peer.expected.clear()
            self.problems[source] = peer.problem
        elif peer.expected:
            self.problems[source] = f"{MAX_LATE} messages before it are still to come"
        return source not in self.problems

    def _send(self, outgoing: Mapping[int, Any], max_bytes: int) -> None:
        packed: dict[int, np.ndarray] = {}  # the same message to many peers is copied once
        for target, message in outgoing.items():
            peer = self._peers[target]
            unfetched = len(peer.outbound.pending)
            if peer.problem is not None or unfetched >= _MAX_NOTICES:
                continue
            if unfetched >= MAX_UNFETCHED:
                memory = _notice(self._tag, LEFT_OUT)
            elif message is None:
                memory = _notice(self._tag, NO_MESSAGE)
            elif id(message) in packed:
                memory = packed[id(message)]
            else:
                data = np.frombuffer(message, dtype=np.uint8) if len(message) else np.empty(0, dtype=np.uint8)
                memory = _notice(self._tag, data.size)
                if data.size <= max_bytes:
                    memory = np.concatenate([memory, data])
                packed[id(message)] = memory
            try:
                work = self._gloo.send([torch.from_numpy(memory)], target, self._tag % _TAGS)
            except RuntimeError as error:  # gone: whoever waits for it will notice
                peer.problem = str(error)
                continue
            peer.outbound.wait_for(work, self._tag, memory, target)
            self.bytes_sent += memory.size

    def _await_transfer(self, deadline: float | None) -> bool:
        """Note the next transfer that ends, and return whether one did before the deadline."""
        try:
            line, error = self._events.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except Empty:
            return False
        tag, memory, number = line.pending.popleft()
        peer = self._peers[number]
        if error is not None:
            peer.problem = error
        if line is peer.outbound:
            return True
        if tag != self._tag:
            if error is None:
                self.bytes_received += _size(memory)
            self._pool.give(memory)
        elif error is not None:
            self.problems[number] = error
        else:
            self._arrived[number] = memory
        return True

    def _open(self, source: int, max_bytes: int) -> np.ndarray | None:
        memory = self._arrived[source]
        tag, size = HEADER.unpack_from(memory.data)
        self.bytes_received += _size(memory)
        if tag != self._tag:
            self.problems[source] = f"its message is of round {tag} and not of {self._tag}"
        elif size == NO_MESSAGE:
            self.problems[source] = "it sent no message"
        elif size == LEFT_OUT:
            self.problems[source] = f"round {tag} was left out, for {MAX_UNFETCHED} messages before it were not fetched"
        elif size > max_bytes:
            self.problems[source] = f"{max_bytes} bytes at most expected, got {size}"
        else:
            return memory[HEADER.size : HEADER.size + size]
        return None

    def close(self, patience: float) -> None:
        """Wait until all is sent, end the threads, and close the connections unless something is under way."""
        deadline = time.monotonic() + patience
        while self._await_transfer(deadline if any(peer.outbound.pending for peer in self._peers.values()) else 0.0):
            pass
        for peer in self._peers.values():
            peer.inbound.stop()
            peer.outbound.stop()
        if not any(peer.inbound.pending or peer.outbound.pending for peer in self._peers.values()):
            self._gloo = None


class _Peer:
    def __init__(self, events: SimpleQueue) -> None:
        self.inbound = _Line(events)
        self.outbound = _Line(events)
        self.expected: deque[tuple[int, int]] = deque()  # tag and size of messages that are not asked for yet
        self.problem: str | None = None  # why nothing will come from it any more


class _Line:
    """Transfers with one peer in one direction, waited for in their order by a thread.

    `pending` and the events belong to the process's own thread: no locks.
    """

    def __init__(self, events: SimpleQueue) -> None:
        self.pending: deque[tuple[int, np.ndarray, int]] = deque()  # tag, memory (which must outlive the work), peer
        self._works: SimpleQueue[Any] = SimpleQueue()
        self._events = events
        self._thread: threading.Thread | None = None

    def wait_for(self, work: Any, tag: int, memory: np.ndarray, peer: int) -> None:
        self.pending.append((tag, memory, peer))
        self._works.put((work, memory))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="electioncode-gloo", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread: now, or once all before is done. It does not keep the process alive until then."""
        self._works.put(None)
        if self._thread is not None and not self.pending:
            self._thread.join(_JOIN_SECONDS)  # a thread that still runs while the interpreter ends can abort it

    def _run(self) -> None:
        while (item := self._works.get()) is not None:
            error = None
            try:
                item[0].wait(_INDEFINITELY)
            except RuntimeError as failure:  # the connection is closed
                error = str(failure)
            del item  # it keeps the connections open
            self._events.put((self, error))


def _notice(tag: int, size: int) -> np.ndarray:
    return np.frombuffer(HEADER.pack(tag, size), dtype=np.uint8).copy()


def _size(memory: np.ndarray) -> int:
    """Return the bytes that came, as far as the header tells."""
    size = HEADER.unpack_from(memory.data)[1]
    return HEADER.size + (size if size <= memory.size - HEADER.size else 0)
