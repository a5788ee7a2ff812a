"""Carry messages between workers that all live in one process: simulation and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

from electioncode.transport.base import Buffer, check_workers


class InProcessTransport(AbstractContextManager["InProcessTransport"]):
    """Hand every worker's message to the decoder, and its result back, without copying.

    Args:
        num_workers: at least 1.

    Byte counts are those of a server and num_workers separate workers, summed over the workers.
    """

    device = "any"

    def __init__(self, num_workers: int) -> None:
        if num_workers < 1:
            raise ValueError(f"InProcessTransport: num_workers must be at least 1, got {num_workers}")
        self.num_workers = int(num_workers)
        self.workers = tuple(range(self.num_workers))
        self.bytes_sent = 0
        self.bytes_received = 0

    def exchange(self, messages: Mapping[int, Buffer], max_bytes: int, decode: Callable[..., Buffer]) -> Buffer:
        """See :class:`electioncode.transport.Transport`."""
        check_workers(messages, self.workers)
        sizes = {worker: _bytes_of(message) for worker, message in messages.items()}
        self.bytes_sent += sum(sizes.values())
        result = decode([messages[w] if sizes.get(w, max_bytes + 1) <= max_bytes else None for w in self.workers])
        self.bytes_received += self.num_workers * _bytes_of(result)
        return result

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def __exit__(self, *error: object) -> None:
        self.close()


def _bytes_of(message: Buffer) -> int:
    return message.nbytes if hasattr(message, "nbytes") else memoryview(message).nbytes
