"""The message on the wire: a self-describing frame around one voter's signs.

All numbers are little-endian. A frame is whole 64-bit words, so that its planes are views where it is
aligned::

    offset  0  magic     4 bytes  b"ELEC"
            4  version   uint16   1
            6  planes    uint16   1: signs; 2: signs, then the mask
            8  d         uint64   coordinates
           16  step      uint64
           24  sender    uint32   worker, or SERVER for a result
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

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from electioncode._backend import checksum
from electioncode.signs import PackedSigns, words_for

MAGIC = b"ELEC"
VERSION = 1
HEADER_BYTES = 40
SERVER = 0xFFFFFFFF  # sender of a result

_HEADER = struct.Struct("<4sHHQQII")  # all but the checksum
_CHECKSUM_WORD = 4
_FIRST_PLANE = HEADER_BYTES // 8


class FrameError(ValueError):
    """A frame that is not what it should be; the text says what is wrong with it."""


def frame_bytes(d: int, planes: int = 1) -> int:
    """Size in bytes of a frame of d coordinates with 1 plane (signs) or 2 (signs and mask)."""
    if d < 0:
        raise ValueError(f"frame_bytes: d must be at least 0, got {d}")
    if planes not in (1, 2):
        raise ValueError(f"frame_bytes: planes must be 1 or 2, got {planes}")
    return HEADER_BYTES + 8 * planes * words_for(d)


def encode(
    votes: PackedSigns, *, step: int = 0, sender: int = 0, out: np.ndarray | None = None
) -> np.ndarray:
    """The frame of one voter.

    Args:
        votes: PackedSigns ``(d,)``, NumPy or torch.
        step: 0 to 2**64 - 1.
        sender: the worker, or SERVER; 0 to 2**32 - 1.
        out: a contiguous uint8 array of ``frame_bytes(d, planes)`` bytes to fill instead of a new one.

    Returns a 1-D uint8 array. Raises ValueError for votes that no receiver would take: of shape (n, d),
    with padding bits set, or with votes outside the mask.
    """
    if not isinstance(votes, PackedSigns):
        raise TypeError(f"encode: votes must be PackedSigns, got {type(votes).__name__}")
    if votes.ndim != 1:
        raise ValueError(f"encode: votes must have shape (d,), got {votes.shape}")
    for name, value, limit in (("step", step, 2**64), ("sender", sender, 2**32)):
        if not 0 <= value < limit:
            raise ValueError(f"encode: {name} must be from 0 to {limit - 1}, got {value}")
    words, mask = votes.numpy()
    wrong = _check_planes(words, mask, votes.d)
    if wrong:
        raise ValueError(f"encode: votes have {wrong}")
    planes = 1 if mask is None else 2
    size = frame_bytes(votes.d, planes)
    if out is None:
        out = np.empty(size, dtype=np.uint8)
    elif out.dtype != np.uint8 or out.shape != (size,) or not out.flags.carray:
        raise ValueError(
            f"encode: out must be a writeable contiguous array of {size} uint8, got {out.dtype} {out.shape}"
        )
    frame = out.view("<u8")
    _HEADER.pack_into(out.data, 0, MAGIC, VERSION, planes, votes.d, step, sender, 0)
    frame[_CHECKSUM_WORD] = 0
    n = words.size
    frame[_FIRST_PLANE : _FIRST_PLANE + n] = words
    if mask is not None:
        frame[_FIRST_PLANE + n :] = mask
    frame[_CHECKSUM_WORD] = checksum(_native(frame))
    return out


def decode(
    buffer: Any, *, d: int | None = None, step: int | None = None, sender: int | None = None
) -> PackedSigns:
    """The votes of a frame.

    Args:
        buffer: anything with a contiguous buffer; a frame and nothing more.
        d, step, sender: what they must be; None: anything.

    Returns PackedSigns ``(d,)`` whose words are views of the buffer where that is aligned to 8 bytes
    (read-only where it is read-only), else copies. Raises FrameError, a ValueError, that says what is
    wrong. No buffer, whatever it
    holds, gives anything else: the size is checked against the header before a plane is read.
    """
    raw = _bytes_of(buffer)
    if raw.size < HEADER_BYTES:
        raise FrameError(f"frame: at least {HEADER_BYTES} bytes expected, got {raw.size}")
    magic, version, planes, coordinates, its_step, its_sender, reserved = _HEADER.unpack_from(raw.data, 0)
    if magic != MAGIC:
        raise FrameError(f"frame: magic must be {MAGIC!r}, got {magic!r}")
    if version != VERSION:
        raise FrameError(f"frame: version must be {VERSION}, got {version}")
    if planes not in (1, 2):
        raise FrameError(f"frame: planes must be 1 or 2, got {planes}")
    if reserved:
        raise FrameError(f"frame: reserved bytes must be 0, got {reserved:#x}")
    expectations = (("d", coordinates, d), ("step", its_step, step), ("sender", its_sender, sender))
    for name, value, expected in expectations:
        if expected is not None and value != expected:
            raise FrameError(f"frame: {name} must be {expected}, got {value}")
    size = frame_bytes(coordinates, planes)
    if raw.size != size:
        shape = f"d = {coordinates} and {planes} planes"
        raise FrameError(f"frame: {size} bytes expected for {shape}, got {raw.size}")
    frame = _native(raw.view("<u8"))
    if _checksum_of(frame) != int(frame[_CHECKSUM_WORD]):
        raise FrameError("frame: checksum does not match")
    n = words_for(coordinates)
    words = frame[_FIRST_PLANE : _FIRST_PLANE + n]
    mask = frame[_FIRST_PLANE + n :] if planes == 2 else None
    wrong = _check_planes(words, mask, coordinates)
    if wrong:
        raise FrameError(f"frame: {wrong}")
    return PackedSigns(words, coordinates, mask)


def part(d: int, index: int, parts: int) -> tuple[int, int]:
    """(first word, coordinates) of one of `parts` pieces of d coordinates, whole words as equal as they can be."""
    words = words_for(d)
    first, end = words * index // parts, words * (index + 1) // parts
    return first, max(0, min(64 * end, d) - 64 * first)


def split(buffer: Any, parts: int) -> list[np.ndarray]:
    """A frame cut along its coordinates: frames of the same step and sender, as :func:`part` says.

    Raises FrameError where the frame is malformed.
    """
    votes = decode(buffer)
    _, _, _, d, step, sender, _ = _HEADER.unpack_from(_bytes_of(buffer).data, 0)
    words, mask = votes.numpy()
    pieces = []
    for index in range(parts):
        first, coordinates = part(d, index, parts)
        cut = slice(first, first + words_for(coordinates))
        piece = PackedSigns(words[cut], coordinates, None if mask is None else mask[cut])
        pieces.append(encode(piece, step=step, sender=sender))
    return pieces


def join(buffers: Sequence[Any]) -> np.ndarray:
    """The frame of which these are all parts, in order; step and sender are those of the first.

    Raises FrameError where one is malformed, or only some have masks.
    """
    pieces = [decode(buffer) for buffer in buffers]
    _, _, _, _, step, sender, _ = _HEADER.unpack_from(_bytes_of(buffers[0]).data, 0)
    planes = [piece.numpy() for piece in pieces]
    masks = [mask for _, mask in planes if mask is not None]
    if masks and len(masks) < len(planes):
        raise FrameError("frame: all parts must have a mask, or none")
    words = np.concatenate([words for words, _ in planes])
    votes = PackedSigns(words, sum(piece.d for piece in pieces), np.concatenate(masks) if masks else None)
    return encode(votes, step=step, sender=sender)


def _bytes_of(buffer: Any) -> np.ndarray:
    try:
        view = memoryview(buffer)
    except TypeError:
        kind = type(buffer).__name__
        raise TypeError(f"decode: buffer must support the buffer protocol, got {kind}") from None
    if not view.c_contiguous:
        raise FrameError("frame: the buffer must be contiguous")
    return np.frombuffer(view, dtype=np.uint8) if view.nbytes else np.empty(0, dtype=np.uint8)


def _native(words: np.ndarray) -> np.ndarray:
    """Little-endian words as the core takes them: the same memory, but for a copy where it is not aligned."""
    words = words.astype(np.uint64, copy=False)
    return words if words.flags.aligned else words.copy()


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


def _checksum_of(frame: np.ndarray) -> int:
    """The checksum of a frame as if its checksum field were 0, without writing to it."""
    offset = (_CHECKSUM_WORD + 1) * 0x9E3779B97F4A7C15
    stored = int(frame[_CHECKSUM_WORD])
    return (int(checksum(frame)) - _mix((stored + offset) % 2**64) + _mix(offset % 2**64)) % 2**64


def _check_planes(words: np.ndarray, mask: np.ndarray | None, d: int) -> str | None:
    """What is wrong with the planes, if anything."""
    if d % 64:
        padding = ~((1 << d % 64) - 1) % 2**64
        if int(words[-1]) & padding or (mask is not None and int(mask[-1]) & padding):
            return f"padding bits set after coordinate {d - 1}"
    if mask is not None and np.any(words & ~mask):
        return "votes set where the mask says that nobody voted"
    return None
