"""Messages between the processes of a torch.distributed job."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from electioncode.transport.base import check_digests, check_workers
from electioncode.votes import frame

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

TOPOLOGIES = ("server", "allgather", "sharded")
_SERVER_PATIENCE = 3  # a worker waits for the server this many times longer than the server for a worker
_CLOSE_SECONDS = 5.0
_ROUNDS = 4  # of an exchange, at most: messages, results, digests
_DIGEST_BYTES = 8


class TorchTransport:
    """One process a worker, in a job that torchrun (or anything else) has started.

    Args:
        group: a process group; None is the default one. With Gloo, the transport opens connections of its own between
            its processes. They all make it together, in the same order where they make several.
        topology: "server": rank 0 counts and holds no worker, worker i is rank i + 1, and all trust rank 0.
            "allgather": worker i is rank i, everyone sends to everyone and counts for itself, and trusts nobody else.
            "sharded": worker i is rank i, each counts 1/n of the coordinates and sends the others the result: the
            fewest bytes, 2 (n - 1) / n of a message, and each rank has all power over what it counts.
        trusted_workers: needed for "sharded".
        timeout: seconds after which a worker that has sent nothing counts as silent in this exchange, from when this
            process starts to wait. A worker of "server" waits three times as long for the result. None waits for ever.
            Not for NCCL, where a silent rank stops the others.
        verify_every: after every so many exchanges all ranks compare 64 bits of a hash of their result (0: never).

    With Gloo, messages go from peer to peer, and a worker that is silent, late, dead or sends garbage costs its own
    message and nothing else. ``exchange`` raises, at a worker of "server", TimeoutError where the server is silent and
    RuntimeError where it went on without this worker; in "sharded", RuntimeError where a part of the result is missing.

    With NCCL alone, messages go by all-to-all between the current CUDA devices, where all ranks must take part: an
    election counts them there ("sharded": on the CPU). A group with backend "cpu:gloo,cuda:nccl" takes Gloo.

    A comparison of results that finds ranks apart names them in a RuntimeWarning at those that agree with most, and in
    a RuntimeError at the others (and at all where none are most): a liar may name any hash, and shall not stop those
    who are right; a rank whose parameters have parted must not go on.

    Not covered: a rank whose own torch.distributed lies about the sizes that it announced. Gloo ends a process that
    receives more bytes than it asked for, and NCCL waits. Where workers may have been taken over as far as that, use
    :class:`MPITransport`, which looks at a message before it receives it.

    Needs PyTorch: ``pip install 'electioncode[torch]'``. Not thread-safe.
    """

    def __init__(
        self,
        group: ProcessGroup | None = None,
        topology: str = "server",
        *,
        trusted_workers: bool = False,
        timeout: float | None = None,
        verify_every: int = 0,
    ) -> None:
        dist = _import_distributed()
        _check(dist, topology, trusted_workers, timeout, verify_every)
        group = dist.group.WORLD if group is None else group
        self.rank, size = dist.get_rank(group), dist.get_world_size(group)
        if self.rank < 0:
            raise ValueError("TorchTransport: this process must be one of the group")
        if topology == "server" and size < 2:
            raise ValueError(
                "TorchTransport: topology 'server' needs at least 2 processes (a server and a worker), got 1; start "
                "them with torchrun --nproc-per-node 2 or more"
            )
        self.topology = topology
        self.timeout = timeout
        self.verify_every = int(verify_every)
        self._others = [r for r in range(size) if r != self.rank]
        if topology == "server":
            self.num_workers = size - 1
            self.workers: tuple[int, ...] = () if self.rank == 0 else (self.rank - 1,)
        else:
            self.num_workers = size
            self.workers = (self.rank,)
        self._mail = _open(dist, group, timeout)
        self._exchanges = 0
        self._closed = False
        self._finalizer = weakref.finalize(self, self._mail.close, _CLOSE_SECONDS)

    @property
    def bytes_sent(self) -> int:
        """Bytes that this process has sent: frames, and 16 for each of them."""
        return self._mail.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Bytes that this process has received, dropped messages included."""
        return self._mail.bytes_received

    def exchange(
        self, messages: Mapping[int, Any], max_bytes: int, decode: Callable[..., Any]
    ) -> Any:
        """See :class:`electioncode.transport.Transport`."""
        if self._closed:
            raise RuntimeError("exchange: the transport is closed")
        check_workers(messages, self.workers)
        self._exchanges += 1  # whatever happens: all processes must count alike
        message = messages.get(self.workers[0]) if self.workers else None
        if self.topology == "allgather":
            result = self._count_here(message, max_bytes, decode)
        elif self.topology == "sharded":
            result = self._count_a_part(message, max_bytes, decode)
        elif self.rank == 0:
            result = self._serve(max_bytes, decode)
        else:
            result = self._ask(message, max_bytes)
        if self.verify_every and self._exchanges % self.verify_every == 0:
            self._verify(result)
        return result

    @property
    def tensor_device(self) -> Any:
        """The CUDA device on which `exchange_tensors` takes messages; None with Gloo, and where frames are split."""
        return None if self.topology == "sharded" else getattr(self._mail, "device", None)

    def exchange_tensors(self, messages: Mapping[int, Any], max_bytes: int, decode: Callable[..., Any]) -> Any:
        """As `exchange`, of tensors on `tensor_device`, from where NCCL takes them."""
        self._mail.on_device = True
        try:
            return self.exchange(messages, max_bytes, decode)
        finally:
            self._mail.on_device = False

    def _round(
        self, number: int, outgoing: Mapping[int, Any], sources: Sequence[int], max_bytes: int, patience: float = 1.0
    ) -> dict[int, np.ndarray | None]:
        timeout = None if self.timeout is None else patience * self.timeout
        return self._mail.round(_ROUNDS * self._exchanges + number, outgoing, sources, max_bytes, timeout)

    def _count_here(self, message: Any, max_bytes: int, decode: Callable[..., Any]) -> Any:
        received = self._round(0, dict.fromkeys(self._others, message), self._others, max_bytes)
        return decode([message if r == self.rank else received[r] for r in range(self.num_workers)])

    def _serve(self, max_bytes: int, decode: Callable[..., Any]) -> Any:
        received = self._round(0, {}, self._others, max_bytes)
        try:
            result = decode([received[r] for r in self._others])
        except BaseException:
            self._round(1, dict.fromkeys(self._others), [], max_bytes)  # the workers shall fail rather than wait
            raise
        self._round(1, dict.fromkeys(self._others, result), [], max_bytes)
        return result

    def _ask(self, message: Any, max_bytes: int) -> np.ndarray:
        self._round(0, {0: message}, [], max_bytes)
        result = self._round(1, {}, [0], max_bytes, patience=_SERVER_PATIENCE)[0]
        if result is None:
            if 0 in self._mail.problems:
                raise RuntimeError(f"exchange: no result from the server (rank 0): {self._mail.problems[0]}")
            waited = f"{_SERVER_PATIENCE} * timeout = {_SERVER_PATIENCE * (self.timeout or 0)} s"
            raise TimeoutError(f"exchange: no result from the server (rank 0) within {waited}")
        return result

    def _count_a_part(self, message: Any, max_bytes: int, decode: Callable[..., Any]) -> np.ndarray:
        n = self.num_workers
        try:
            parts: Sequence[Any] = [None] * n if message is None else frame.split(message, n)
        except frame.FrameError:
            parts = [message] * n  # it is no frame, and the decoder shall say so
        received = self._round(0, {r: parts[r] for r in self._others}, self._others, max_bytes)
        received[self.rank] = parts[self.rank]
        mine = decode([received[r] for r in range(n)], part=(self.rank, n))
        results: dict[int, Any] = dict(self._round(1, dict.fromkeys(self._others, mine), self._others, max_bytes))
        missing = [r for r in self._others if results[r] is None]
        if missing:
            raise RuntimeError(f"exchange: no result from ranks {missing} for the coordinates that they count")
        results[self.rank] = mine
        return _joined([results[r] for r in range(n)])

    def _verify(self, result: Any) -> None:
        mine = hashlib.blake2b(_on_host(result), digest_size=_DIGEST_BYTES).digest()
        received = self._round(2, dict.fromkeys(self._others, mine), self._others, _DIGEST_BYTES)
        digests = {r: bytes(_on_host(d)) for r, d in received.items() if d is not None}
        check_digests({**digests, self.rank: mine}, self.rank, self._exchanges)

    def close(self) -> None:
        """Waits, 5 s at most, until others have fetched what this process sent."""
        if self._closed:
            return
        self._closed = True
        self._finalizer.detach()
        self._mail.close(_CLOSE_SECONDS)

    def __enter__(self) -> TorchTransport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _on_host(message: Any) -> Any:
    return message.cpu().numpy() if hasattr(message, "cpu") else message


def _joined(results: Sequence[Any]) -> Any:
    for result in results:
        try:
            frame.decode(result)
        except frame.FrameError:  # no winner, but what the decoder says in its place
            return result
    return frame.join(results)


def _open(dist: Any, group: ProcessGroup, timeout: float | None) -> Any:
    """What sends and receives."""
    import torch

    from electioncode.transport.collective import Collective
    from electioncode.transport.gloo import Mail

    backend = dist.get_backend_config(group)
    if "gloo" in backend:
        return Mail(group)
    if "nccl" not in backend:
        raise ValueError(f"TorchTransport: group must be of backend gloo or nccl, got {backend!r}")
    if timeout is not None:
        raise ValueError(
            "TorchTransport: timeout must be None with NCCL, where a silent rank stops the others; give a Gloo group: "
            'group=torch.distributed.new_group(backend="gloo")'
        )
    return Collective(group, torch.device("cuda", torch.cuda.current_device()))


def _check(dist: Any, topology: str, trusted_workers: bool, timeout: float | None, verify_every: int) -> None:
    if topology not in TOPOLOGIES:
        expected = ", ".join(map(repr, TOPOLOGIES))
        raise ValueError(f"TorchTransport: topology must be one of {expected}, got {topology!r}")
    if topology == "sharded" and not trusted_workers:
        raise ValueError(
            "TorchTransport: topology 'sharded' gives each worker all power over the coordinates that it counts, so "
            "it needs trusted_workers=True; topology 'allgather' trusts nobody"
        )
    if timeout is not None and not timeout > 0:
        raise ValueError(f"TorchTransport: timeout must be above 0 seconds or None, got {timeout}")
    if verify_every < 0:
        raise ValueError(f"TorchTransport: verify_every must be at least 0, got {verify_every}")
    if not dist.is_initialized():
        raise RuntimeError(
            "TorchTransport: torch.distributed is not initialized; call torch.distributed.init_process_group first, "
            "in a process started by torchrun"
        )


def _import_distributed() -> Any:
    try:
        import torch.distributed as dist
    except ImportError as error:
        raise ImportError("TorchTransport needs PyTorch: pip install 'electioncode[torch]'") from error
    if not dist.is_available():
        raise ImportError("TorchTransport needs a PyTorch built with torch.distributed")
    return dist
