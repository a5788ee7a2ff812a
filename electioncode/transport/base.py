"""Say what a transport is: one method carries a message per worker to whoever counts, and the result back."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

Buffer = Any  # a 1-D uint8 torch tensor, or anything with a contiguous buffer: bytes, memoryview, a uint8 array


@runtime_checkable
class Transport(Protocol):
    """What an election needs of a transport.

    Attributes:
        num_workers: workers of the election, over all processes.
        workers: those that live in this process; empty at a server, which only counts.
        bytes_sent, bytes_received: payload bytes of this process so far.
        device: where messages may stay tensors: a torch.device; "any", where they are handed over as they are; None,
            where they go through host memory.
    """

    num_workers: int
    workers: tuple[int, ...]

    @property
    def bytes_sent(self) -> int: ...

    @property
    def bytes_received(self) -> int: ...

    @property
    def device(self) -> Any: ...

    def exchange(self, messages: Mapping[int, Buffer], max_bytes: int, decode: Callable[..., Buffer]) -> Buffer:
        """Send the messages of this process's workers, have all messages decoded, and return the result.

        Every process calls it once per step, in the same order.

        Args:
            messages: worker -> message. A worker of this process that is not in it sends nothing.
            max_bytes: no honest message or result is longer.
            decode: called where votes are counted, with one entry per worker: its message, or None where none came in
                time or it was longer than max_bytes. The messages are valid until decode returns. It may have three
                attributes. `device`: None (default) where received messages and result are wanted as host buffers;
                otherwise they stay tensors on the transport's device. `split(message, parts)` and `join(results)`:
                for processes that share the counting, each of one shard of every message. Then decode is called
                with ``part=(i, m)``, for the i-th of the m shards into which split has cut each message, and join
                makes one result of m. A message for which split raises ValueError goes to all uncut: let decode
                reject it.

        Returns the result, valid until the next call. Raises where no result comes; what workers send never raises.
        """
        ...

    def close(self) -> None:
        """Release all resources. Closing twice is harmless."""
        ...


def check_digests(digests: Mapping[int, bytes], rank: int, step: int) -> None:
    """Compare the ranks' digests of a result: warn, or raise at a rank outside the majority.

    A liar may report any digest and must not stop those who are right; a rank whose result differs must not go on.
    """
    most, votes = Counter(digests.values()).most_common(1)[0]
    differing = sorted(r for r, digest in digests.items() if digest != most)
    if 2 * votes <= len(digests):
        hexadecimal = {r: digest.hex() for r, digest in sorted(digests.items())}
        raise RuntimeError(f"exchange {step}: no result has a majority of ranks: {hexadecimal}")
    if rank in differing:
        raise RuntimeError(
            f"exchange {step}: rank {rank} disagrees with the majority of ranks (differing ranks: {differing})"
        )
    if differing:
        text = f"exchange {step}: ranks {differing} report results that differ from the majority's"
        warnings.warn(text, RuntimeWarning, stacklevel=4)


def check_workers(messages: Mapping[int, Any], workers: tuple[int, ...]) -> None:
    """Check that messages come from workers of this process."""
    strangers = sorted(set(messages) - set(workers))
    if strangers:
        raise ValueError(
            f"exchange: messages must be of the workers of this process, {workers}, got worker {strangers[0]}"
        )


class Pool:
    """Free memory, of at most `limit` messages of one size: a model's messages all have the same length."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free: list[np.ndarray] = []

    def take(self, size: int) -> np.ndarray:
        """Return memory of this size, with anything in it."""
        if self._free and self._free[0].size != size:  # the model has changed
            self._free.clear()
        return self._free.pop() if self._free else np.empty(size, dtype=np.uint8)

    def give(self, memory: np.ndarray) -> None:
        """Take memory back that nobody reads any more."""
        if len(self._free) < self._limit and (not self._free or self._free[0].size == memory.size):
            self._free.append(memory)
