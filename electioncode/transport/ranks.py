"""Carry messages between ranks, one process per worker: the topologies, written once over whatever moves bytes."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

import numpy as np

from electioncode.transport.base import Buffer, check_digests, check_workers

TOPOLOGIES: Final = ("server", "allgather", "sharded")
ROUNDS: Final = 4  # of an exchange, at most: messages, results, digests
CLOSE_SECONDS = 5.0
_SERVER_PATIENCE = 3  # a worker waits for the server this many times longer than the server for a worker
_DIGEST_BYTES = 8
T = TypeVar("T")


class Mail(Protocol):
    """Move messages between this rank and others, one round at a time.

    Attributes:
        device: the torch.device on which received messages are; None for buffers in host memory.
        problems: source -> why it had no usable message in the last round; nothing for one that was late.
        bytes_sent, bytes_received: by this rank so far.
    """

    device: Any
    problems: dict[int, str]
    bytes_sent: int
    bytes_received: int

    def round(
        self, tag: int, outgoing: Mapping[int, Any], sources: Iterable[int], max_bytes: int, timeout: float | None
    ) -> dict[int, Any]:
        """Send each rank in outgoing its message (None: say that there is none); return those of the sources.

        Every rank sends every peer of a round exactly one message, if only to say that it has none: so a message that
        is late can be told apart from one that will not come. Tags rise from round to round.

        Received messages are valid until the next round. A source has None where it sent no message, one that is
        longer than max_bytes or malformed, or none within timeout seconds (None: wait indefinitely).
        """
        ...

    def close(self, patience: float) -> None:
        """Wait, at most patience seconds, until others have fetched what was sent; then receive no more."""
        ...


class RankTransport:
    """One process per worker; the base of MPITransport and TorchTransport, which bring the mail.

    Args:
        topology: "server": rank 0 counts and holds no worker, worker i is rank i + 1, and all trust rank 0.
            "allgather": worker i is rank i, everyone sends to everyone and counts for itself, and trusts nobody else.
            "sharded": worker i is rank i, each counts 1/n of the coordinates and sends the others the result: the
            fewest bytes, 2 (n - 1) / n of a message, but each rank decides alone about what it counts.
        timeout: seconds, from when this process starts to wait, after which a worker that has sent nothing counts as
            silent in this exchange. A worker of "server" waits three times as long for the result, since the server
            itself waits. None waits indefinitely.
        trusted_workers: required for "sharded".
        verify_every: after every so many exchanges all ranks compare 64 bits of a hash of their result (0: never).

    What other workers send or do not send never raises: a worker that is silent, late or sends garbage costs its own
    message, and a late message is dropped when it comes. ``exchange`` raises, at a worker of "server", TimeoutError
    where the server is silent and RuntimeError where it went on without this worker; in "sharded", RuntimeError where
    a part of the result is missing. A worker that lags finds up to 16 results waiting for it.

    With "allgather" a Byzantine worker may tell different things to different workers, and a timeout may fall
    differently at each. Each then counts different votes of at most b workers: with a code that tolerates b, all still
    find the same winner; beyond it, their results may differ.

    A comparison of results names the ranks that differ in a RuntimeWarning at those of the majority, and raises
    RuntimeError at the others (and on every rank if there is no majority).
    """

    def __init__(self, topology: str, timeout: float | None, trusted_workers: bool, verify_every: int) -> None:
        name = type(self).__name__
        if topology not in TOPOLOGIES:
            expected = ", ".join(map(repr, TOPOLOGIES))
            raise ValueError(f"{name}: topology must be one of {expected}, got {topology!r}")
        if topology == "sharded" and not trusted_workers:
            raise ValueError(
                f"{name}: topology 'sharded' lets each worker decide alone about the coordinates that it counts, so it "
                "needs trusted_workers=True; topology 'allgather' trusts nobody"
            )
        if timeout is not None and not timeout > 0:
            raise ValueError(f"{name}: timeout must be above 0 seconds or None, got {timeout}")
        if verify_every < 0:
            raise ValueError(f"{name}: verify_every must be at least 0, got {verify_every}")
        self.topology, self.timeout, self.verify_every = topology, timeout, int(verify_every)

    def _start(self, rank: int, size: int, launcher: str, mail: Callable[[], Mail]) -> None:
        """Take this process's place among the ranks and open the mail, which all ranks do together."""
        has_server = self.topology == "server"
        if has_server and size < 2:
            raise ValueError(
                f"{type(self).__name__}: topology 'server' needs at least 2 processes (a server and a worker), got "
                f"{size}; start them with {launcher} 2 or more"
            )
        self.rank = rank
        self.num_workers = size - has_server
        self.workers: tuple[int, ...] = () if has_server and rank == 0 else (rank - has_server,)
        self._others = [r for r in range(size) if r != rank]
        self._mail = mail()
        self._exchanges = 0
        # What was sent must arrive, even if nobody closes the transport.
        self._finalizer = weakref.finalize(self, self._mail.close, CLOSE_SECONDS)

    @property
    def bytes_sent(self) -> int:
        """Bytes that this process has sent."""
        return self._mail.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Bytes that this process has received, dropped messages included."""
        return self._mail.bytes_received

    @property
    def device(self) -> Any:
        """The torch.device on which messages can stay; None where they go through host memory."""
        return None if self.topology == "sharded" else self._mail.device

    def exchange(self, messages: Mapping[int, Buffer], max_bytes: int, decode: Callable[..., Buffer]) -> Buffer:
        """See :class:`electioncode.transport.Transport`."""
        if not self._finalizer.alive:
            raise RuntimeError("exchange: the transport is closed")
        check_workers(messages, self.workers)
        self._exchanges += 1  # even if this exchange fails: all processes must count alike
        device = None if getattr(decode, "device", None) is None else self.device

        def count(received: Sequence[Any], **part: tuple[int, int]) -> Buffer:
            return decode([_placed(message, device) for message in received], **part)

        message = _placed(messages.get(self.workers[0]), device) if self.workers else None
        if self.topology == "allgather":
            received = self._round(0, dict.fromkeys(self._others, message), self._others, max_bytes)
            result = count([message if r == self.rank else received[r] for r in range(self.num_workers)])
        elif self.topology == "sharded":
            result = self._count_a_shard(message, max_bytes, count, decode)
        elif self.rank == 0:
            received = self._round(0, {}, self._others, max_bytes)
            result, _ = self._count_for_all(lambda: count([received[r] for r in self._others]), [], max_bytes)
        else:
            result = _placed(self._request_result(message, max_bytes), device)
        if self.verify_every and self._exchanges % self.verify_every == 0:
            if isinstance(result, np.ndarray):
                result = result.copy()  # it may lie in the mail's memory, and there is one more round
            self._verify(result)
        return result

    def _round(
        self, number: int, outgoing: Mapping[int, Any], sources: Sequence[int], max_bytes: int, patience: float = 1.0
    ) -> dict[int, Any]:
        timeout = None if self.timeout is None and patience else patience * (self.timeout or 0)
        return self._mail.round(ROUNDS * self._exchanges + number, outgoing, sources, max_bytes, timeout)

    def _count_for_all(
        self, count: Callable[[], Buffer], sources: Sequence[int], max_bytes: int
    ) -> tuple[Buffer, dict[int, Any]]:
        """Send the others what is counted here, or, if counting fails, that nothing comes; return it, and theirs."""
        try:
            result = count()
        except BaseException:
            self._round(1, dict.fromkeys(self._others), sources, max_bytes, patience=0)  # they fail rather than wait
            raise
        return result, self._round(1, dict.fromkeys(self._others, result), sources, max_bytes)

    def _request_result(self, message: Any, max_bytes: int) -> Any:
        self._round(0, {0: message}, [], max_bytes)
        result = self._round(1, {}, [0], max_bytes, patience=_SERVER_PATIENCE)[0]
        if result is None:
            if 0 in self._mail.problems:
                raise RuntimeError(f"exchange: no result from the server (rank 0): {self._mail.problems[0]}")
            waited = f"{_SERVER_PATIENCE} * timeout = {_SERVER_PATIENCE * (self.timeout or 0)} s"
            raise TimeoutError(f"exchange: no result from the server (rank 0) within {waited}")
        return result

    def _count_a_shard(self, message: Any, max_bytes: int, count: Callable[..., Buffer], decode: Any) -> Buffer:
        if getattr(decode, "split", None) is None:
            raise ValueError("exchange: topology 'sharded' needs messages that can be cut, and these have no split")
        n = self.num_workers
        try:
            parts: Sequence[Any] = [None] * n if message is None else decode.split(message, n)
        except ValueError:
            parts = [message] * n  # malformed; let the decoder reject it
        received = self._round(0, {r: parts[r] for r in self._others}, self._others, max_bytes)
        received[self.rank] = parts[self.rank]
        shard, results = self._count_for_all(
            lambda: count([received[r] for r in range(n)], part=(self.rank, n)), self._others, max_bytes
        )
        results[self.rank] = shard
        missing = [r for r in range(n) if results[r] is None]
        if missing:
            raise RuntimeError(f"exchange: no result from ranks {missing} for the coordinates that they count")
        return decode.join([_placed(results[r], None) for r in range(n)])

    def _verify(self, result: Buffer) -> None:
        digest = hashlib.blake2b(_placed(result, None), digest_size=_DIGEST_BYTES).digest()
        received = self._round(2, dict.fromkeys(self._others, digest), self._others, _DIGEST_BYTES)
        digests = {r: bytes(_placed(theirs, None)) for r, theirs in received.items() if theirs is not None}
        check_digests({**digests, self.rank: digest}, self.rank, self._exchanges)

    def close(self) -> None:
        """Wait, at most 5 s, until others have fetched what this process sent; then close the connections."""
        if self._finalizer.detach():
            self._mail.close(CLOSE_SECONDS)

    def __enter__(self: T) -> T:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _placed(message: Any, device: Any) -> Any:
    """Return a message (or None) as a buffer in host memory, or as a tensor on the device."""
    if device is None or message is None:
        return message.cpu().numpy() if hasattr(message, "cpu") else message
    from electioncode.transport.collective import as_tensor

    return as_tensor(message).to(device)
