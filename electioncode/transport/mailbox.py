"""What one process holds of its MPI peers: an inbox for each, and an outbox for all."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

TAGS: Final = 1 << 15  # every MPI allows tags up to 32767
MAX_UNFETCHED: Final = 16  # messages kept for a peer that does not fetch them
_ALWAYS_DRAINED: Final = 1 << 20  # bytes of an overlong message that are received just to be rid of it
_DROPS_PER_POLL: Final = 16  # so that a peer that floods does not keep this process from the others

NOTHING: Final = object()  # nothing has come yet
LOST: Final = object()  # nothing usable will come for this tag


class Inbox:
    """Messages from one peer, one at a time, each into memory of its own size.

    `problem` says why the last message was LOST.
    """

    def __init__(self, mpi: Any, comm: Any, peer: int) -> None:
        self.peer = peer
        self.num_bytes = 0
        self.problem: str | None = None
        self._mpi = mpi
        self._comm = comm
        self._status = mpi.Status()
        self._buffer = np.empty(0, dtype=np.uint8)
        self._request: Any = None
        self._message = self._buffer
        self._tag = 0
        self._deaf = False

    @property
    def is_busy(self) -> bool:
        """A message is being received."""
        return self._request is not None

    def poll(self, tag: int, max_bytes: int) -> Any:
        """The message with this tag as a uint8 array (valid until the next call), NOTHING so far, or LOST.

        Drops messages of earlier tags. Messages of one peer do not overtake each other, so one of a later
        tag means that this one will not come; it is left where it is until its turn.
        """
        self.problem = None
        if self._deaf:
            return self._lost("it sent a message far too long to receive, or its connection failed")
        try:
            for _ in range(_DROPS_PER_POLL):
                if self._request is None:
                    found = self._next(tag, max_bytes)
                    if found is not None:
                        return found
                if not self._request.Test():
                    return NOTHING
                self._request = None
                self.num_bytes += self._message.size
                if self._tag == tag:
                    if self._message.size > max_bytes:
                        return self._lost(f"{max_bytes} bytes at most expected, got {self._message.size}")
                    return self._message
            return NOTHING
        except self._mpi.Exception as error:  # the peer is gone, as far as MPI can tell
            self._deaf = True
            return self._lost(str(error))

    def _next(self, tag: int, max_bytes: int) -> Any:
        """Starts to receive the next message, if there is one that belongs to this tag or an earlier one."""
        if not self._comm.Iprobe(self.peer, self._mpi.ANY_TAG, self._status):
            return NOTHING
        size, self._tag = self._status.Get_count(self._mpi.BYTE), self._status.Get_tag()
        if 0 < (self._tag - tag) % TAGS < TAGS // 2:
            return self._lost(f"exchange {tag} was left out, {self._tag} has come")
        if not 0 <= size <= max(2 * max_bytes, _ALWAYS_DRAINED):
            # Neither to be received, for want of memory, nor to be got past. It is no honest peer.
            self._deaf = True
            return self._lost(f"{max_bytes} bytes at most expected, got {size}")
        if size > self._buffer.size:
            self._buffer = np.empty(size, dtype=np.uint8)
        self._message = self._buffer[:size]
        self._request = self._comm.Irecv([self._message, self._mpi.BYTE], self.peer, self._tag)
        return None

    def _lost(self, problem: str) -> object:
        self.problem = problem
        return LOST


class Outbox:
    """Messages under way. Each is copied, and its memory kept until MPI has read it for all peers."""

    def __init__(self, mpi: Any, comm: Any) -> None:
        self.num_bytes = 0
        self._mpi = mpi
        self._comm = comm
        self._pending: list[tuple[np.ndarray, dict[int, Any]]] = []  # memory, peer -> request
        self._free: list[np.ndarray] = []

    @property
    def is_busy(self) -> bool:
        """Messages are under way (none is once MPI has been finalized)."""
        return bool(self._pending) and not self._mpi.Is_finalized()

    def send(self, message: Any, peers: Iterable[int], tag: int) -> None:
        """Starts to send to all peers, but for those that have left MAX_UNFETCHED messages unfetched."""
        self.progress()
        data = np.frombuffer(message, dtype=np.uint8) if len(message) else np.empty(0, dtype=np.uint8)
        memory = self._memory(data.size)
        memory[:] = data
        unfetched: dict[int, int] = {}
        for _, requests in self._pending:
            for peer in requests:
                unfetched[peer] = unfetched.get(peer, 0) + 1
        under_way = {}
        for peer in peers:
            if unfetched.get(peer, 0) >= MAX_UNFETCHED:
                continue
            try:
                under_way[peer] = self._comm.Isend([memory, self._mpi.BYTE], peer, tag)
            except self._mpi.Exception:  # the peer is gone: a matter for whoever waits for it
                continue
            self.num_bytes += data.size
        self._pending.append((memory, under_way))
        self.progress()

    def progress(self) -> None:
        """Lets MPI work, and takes back the memory of what has been sent."""
        still = []
        for memory, requests in self._pending:
            requests = {peer: request for peer, request in requests.items() if not self._is_done(request)}
            if requests:
                still.append((memory, requests))
            elif len(self._free) < 2:
                self._free.append(memory)
        self._pending = still

    def abandon(self) -> None:
        """Leaves what is under way to MPI, which may read the memory until the very end of the process."""
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

    def _memory(self, size: int) -> np.ndarray:
        for i, memory in enumerate(self._free):
            if memory.size == size:
                return self._free.pop(i)
        self._free.clear()  # of another size: the model has changed
        return np.empty(size, dtype=np.uint8)
