"""Say what a transport is: one method carries a message per worker to whoever counts, and the result back."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

Buffer = Any  # bytes, bytearray, memoryview or a 1-D uint8 array: anything with a contiguous buffer


@runtime_checkable
class Transport(Protocol):
    """What an election needs of a transport.

    Attributes:
        num_workers: workers of the election, over all processes.
        workers: those that live in this process; empty at a server, which only counts.
        bytes_sent, bytes_received: payload bytes of this process so far.

    One that can move torch tensors has an attribute ``device``: the device that they must be on, or "any".
    """

    num_workers: int
    workers: tuple[int, ...]

    @property
    def bytes_sent(self) -> int: ...

    @property
    def bytes_received(self) -> int: ...

    def exchange(
        self,
        messages: Mapping[int, Buffer],
        max_bytes: int,
        decode: Callable[..., Buffer],
    ) -> Buffer:
        """Sends the messages of this process's workers, has all messages decoded, and returns the result.

        Every process calls it once a step, in the same order.

        Args:
            messages: worker -> message. A worker of this process that is not in it sends nothing.
            max_bytes: no honest message or result is longer.
            decode: called where votes are counted, with one entry a worker: its message, or None where none
                came in time or it was longer than max_bytes. The buffers are valid until decode returns. Where
                processes share the counting, with ``part=(i, m)``: the messages are then the i-th of m pieces of
                each, as :func:`electioncode.frame.split` cuts them, and so is the result.

        Returns the result, valid until the next call. Raises where no result comes; what workers send never
        raises.
        """
        ...

    def close(self) -> None:
        """Gives everything back. Closing twice is harmless."""
        ...


def check_digests(digests: Mapping[int, bytes], rank: int, step: int) -> None:
    """Compares the ranks' digests; warns, or raises at a rank that is not among most. See TorchTransport."""
    counts = Counter(digests.values())
    if len(counts) == 1:
        return
    most, votes = counts.most_common(1)[0]
    hexadecimal = {r: digest.hex() for r, digest in sorted(digests.items())}
    if 2 * votes <= len(digests):
        raise RuntimeError(f"exchange {step}: the ranks have different results, and none has most: {hexadecimal}")
    apart = sorted(r for r, digest in digests.items() if digest != most)
    if rank in apart:
        raise RuntimeError(
            f"exchange {step}: the result of this rank, {rank}, is not that of most ranks; apart are ranks {apart}"
        )
    warnings.warn(
        f"exchange {step}: ranks {apart} have, or say they have, another result than the others",
        RuntimeWarning,
        stacklevel=4,
    )


def check_workers(messages: Mapping[int, Any], workers: tuple[int, ...]) -> None:
    """Messages are of workers of this process."""
    strangers = sorted(set(messages) - set(workers))
    if strangers:
        raise ValueError(
            f"exchange: messages must be of the workers of this process, {workers}, got worker {strangers[0]}"
        )
