"""The message on the wire: a self-describing frame around one voter's signs.

All numbers are little-endian. A frame is whole 64-bit words, so that its planes are views where it is
aligned::

    offset  0  magic     4 bytes  b"ELEC"
            4  version   uint16   1
            6  planes    uint16   1: signs; 2: signs, then the mask
            8  d         uint64   coordinates
           16  step      uint64
           24  sender    uint32   worker; SERVER: a result; REFUSED: bit i tells whether worker i's message came
           28  reserved  uint32   0
           32  checksum  uint64   of the whole frame with this field 0
           40  planes    ceil(d / 64) uint64 each

The checksum is the sum of mix(word i + (i + 1) * 0x9E3779B97F4A7C15) modulo 2**64, mix being the finaliser of
SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). It finds
every error within one word, and any other but for one in 2**64. It is no signature: whoever sends a frame
can sign whatever it likes, which is why the sender is checked against the connection on which the frame
came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from electioncode.core import FrameError, wire, words_for
from electioncode.votes.packed import PackedSigns

HEADER_BYTES, MAGIC, VERSION, SERVER, REFUSED = wire.HEADER_BYTES, wire.MAGIC, wire.VERSION, wire.SERVER, wire.REFUSED
frame_bytes = wire.frame_bytes


class FramedSigns(PackedSigns):
    """Votes whose planes lie in a frame, so that encoding them copies nothing. Made by :func:`blank`."""

    __slots__ = ("frame",)
    frame: np.ndarray


def blank(d: int, masked: bool) -> FramedSigns:
    """Make votes ``(d,)`` to be counted right into a frame; they hold whatever was in memory."""
    memory = np.empty(frame_bytes(d, 2 if masked else 1), dtype=np.uint8)
    words, mask = wire.planes_of(memory, d, masked)
    votes = FramedSigns(words, d, mask)
    votes.frame = memory
    return votes


def encode(votes: PackedSigns, *, step: int = 0, sender: int = 0, out: np.ndarray | None = None) -> np.ndarray:
    """Return the frame of one voter.

    Args:
        votes: PackedSigns ``(d,)``, NumPy or torch.
        step: 0 to 2**64 - 1.
        sender: the worker, or SERVER; 0 to 2**32 - 1.
        out: a contiguous uint8 array of ``frame_bytes(d, planes)`` bytes to fill instead of a new one.

    Returns a 1-D uint8 array. Raises ValueError for votes that no receiver would take: of shape (n, d), with padding
    bits set, or with votes outside the mask.
    """
    if not isinstance(votes, PackedSigns):
        raise TypeError(f"encode: votes must be PackedSigns, got {type(votes).__name__}")
    if votes.ndim != 1:
        raise ValueError(f"encode: votes must have shape (d,), got {votes.shape}")
    if isinstance(votes, FramedSigns) and out is None:
        return wire.seal(votes.frame, votes.d, votes.mask is not None, step=step, sender=sender)
    return wire.encode(*votes.numpy(), votes.d, step=step, sender=sender, out=out)


def decode(buffer: Any, *, d: int | None = None, step: int | None = None, sender: int | None = None) -> PackedSigns:
    """Return the votes of a frame.

    Args:
        buffer: anything with a contiguous buffer; a frame and nothing more.
        d, step, sender: what they must be; None: anything.

    Returns PackedSigns ``(d,)`` whose words are views of the buffer where that is aligned to 8 bytes (read-only where
    the buffer is), else copies. Raises FrameError, a ValueError, that says what is wrong: any input gives either votes
    or FrameError.
    """
    message = wire.decode(buffer, d=d, step=step, sender=sender)
    return PackedSigns(message.words, message.d, message.mask)


def max_bytes(d: int) -> int:
    """Return the size in bytes of the longest frame of d coordinates."""
    return frame_bytes(d, 2)


def part(d: int, index: int, parts: int) -> tuple[int, int]:
    """Return (first word, coordinates) of one of `parts` pieces of d coordinates: whole words, as equal as possible."""
    words = words_for(d)
    first, end = words * index // parts, words * (index + 1) // parts
    return first, max(0, min(64 * end, d) - 64 * first)


def split(buffer: Any, parts: int) -> list[np.ndarray]:
    """Cut a frame along its coordinates: frames of the same step and sender, as :func:`part` says.

    Raises FrameError where the frame is malformed.
    """
    words, mask, d, step, sender = wire.decode(buffer)
    pieces = []
    for index in range(parts):
        first, coordinates = part(d, index, parts)
        cut = slice(first, first + words_for(coordinates))
        piece = words[cut], None if mask is None else mask[cut]
        pieces.append(wire.encode(*piece, coordinates, step=step, sender=sender))
    return pieces


def join(buffers: Sequence[Any]) -> np.ndarray:
    """Return the frame of which these are all parts, in order; step and sender are those of the first.

    Raises FrameError where one is malformed, or only some have masks.
    """
    pieces = [wire.decode(buffer) for buffer in buffers]
    masks = [piece.mask for piece in pieces if piece.mask is not None]
    if masks and len(masks) < len(pieces):
        raise FrameError("frame: all parts must have a mask, or none")
    words, mask = np.concatenate([piece.words for piece in pieces]), np.concatenate(masks) if masks else None
    d = sum(piece.d for piece in pieces)
    return wire.encode(words, mask, d, step=pieces[0].step, sender=pieces[0].sender)
