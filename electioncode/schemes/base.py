"""The triple that every scheme is: who computes what, what a worker sends, what the messages mean together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from electioncode.codes import AllocationCode
from electioncode.votes import Planes, frame

# What a worker sends, and what a vote results in: PackedSigns in a sign vote; any value that the scheme's format knows.
Message = Any


class Encoder(Protocol):
    """What one process makes of the casts of one step: the messages of its workers."""

    def add(self, partition: int, x: Any, step: int) -> None:
        """Take what was cast for a partition. After an error the partition may be added again."""
        ...

    def messages(self, d: int, step: int) -> dict[int, Message]:
        """Return worker -> message of d coordinates, for the workers of this process."""
        ...

    def reset(self) -> None:
        """Forget the casts; the next step begins."""
        ...


class Decoder(Protocol):
    """What whoever counts makes of the messages."""

    def decode(self, messages: Sequence[Message], d: int, step: int, first_word: int = 0) -> Message:
        """Return the result of the messages that came, in the order of their workers.

        Args:
            messages: one entry per worker; None where its message is missing or malformed.
            d: coordinates of a message.
            first_word: where processes share the counting, the word at which these coordinates begin.
        """
        ...


class Format(Protocol):
    """How messages and results become bytes, and back. A module may be one: `electioncode.frame` is.

    A format whose bytes can be cut along the coordinates has ``split(buffer, parts)``, ``join(buffers)`` and
    ``part(d, index, parts) -> (first word, coordinates)`` too, so that processes can share the counting.
    """

    def max_bytes(self, d: int) -> int:
        """Return the size in bytes of the longest message of d coordinates."""
        ...

    def encode(self, message: Message, /, *, step: int, sender: int) -> Any:
        """Return the message as a buffer."""
        ...

    def decode(self, buffer: Any, /, *, d: int, step: int, sender: int) -> Message:
        """Return the message in a buffer; raise FrameError for anything that no honest sender would send."""
        ...


@dataclass(frozen=True)
class Scheme:
    """An immutable value: allocation, encoder, decoder, and the format of messages.

    Attributes:
        code: the AllocationCode: which worker computes which partition.
        encoder: makes the Encoder of some workers, by their numbers: those of one process.
        decoder: the Decoder, which keeps nothing between steps.
        format: of messages and results in host memory. The default is the frame of sign votes.
        device_format: makes, for a backend, the format of messages that stay on a device; None: they go over the host.
    """

    code: AllocationCode
    encoder: Callable[[tuple[int, ...]], Encoder]
    decoder: Decoder
    format: Format = frame
    device_format: Callable[[Any], Format] | None = Planes
