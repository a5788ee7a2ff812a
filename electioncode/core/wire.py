"""Write and read the frame of one voter, on raw words; `electioncode.frame` has the format and the PackedSigns ends."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np

from electioncode.core.native import checksum
from electioncode.core.words import words_for

MAGIC = b"ELEC"
VERSION = 1
HEADER_BYTES = 40
SERVER = 0xFFFFFFFF  # sender of a result
REFUSED = 0xFFFFFFFE  # sender of what takes a result's place where there is no quorum

_HEADER = struct.Struct("<4sHHQQII")  # all but the checksum
_CHECKSUM_WORD = 4
_FIRST_PLANE = HEADER_BYTES // 8


class FrameError(ValueError):
    """A frame that is not what it should be; the text says what is wrong with it."""


class Message(NamedTuple):
    """What a frame holds; words and mask are views of it where it is aligned to 8 bytes, else copies."""

    words: np.ndarray
    mask: np.ndarray | None
    d: int
    step: int
    sender: int


def frame_bytes(d: int, planes: int = 1) -> int:
    """Return the size in bytes of a frame of d coordinates with 1 plane (signs) or 2 (signs and mask)."""
    if d < 0:
        raise ValueError(f"frame_bytes: d must be at least 0, got {d}")
    if planes not in (1, 2):
        raise ValueError(f"frame_bytes: planes must be 1 or 2, got {planes}")
    return HEADER_BYTES + 8 * planes * words_for(d)


def planes_of(frame: np.ndarray, d: int, masked: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Return words and mask (or None) of a frame that is being written: views for the votes to be counted into."""
    planes, width = frame.view("<u8")[_FIRST_PLANE:], words_for(d)
    return planes[:width].view(np.uint64), planes[width:].view(np.uint64) if masked else None


def seal(frame: np.ndarray, d: int, masked: bool, *, step: int, sender: int) -> np.ndarray:
    """Write header and checksum of a frame whose planes are written; return the frame.

    Raises ValueError for votes that no receiver would take: padding bits set, or votes outside the mask.
    """
    for name, value, limit in (("step", step, 2**64), ("sender", sender, 2**32)):
        if not 0 <= value < limit:
            raise ValueError(f"encode: {name} must be from 0 to {limit - 1}, got {value}")
    wrong = _check_planes(*planes_of(frame, d, masked), d)
    if wrong:
        raise ValueError(f"encode: votes have {wrong}")
    _HEADER.pack_into(frame.data, 0, MAGIC, VERSION, 2 if masked else 1, d, step, sender, 0)
    words = frame.view("<u8")
    words[_CHECKSUM_WORD] = 0
    words[_CHECKSUM_WORD] = checksum(_native(words))
    return frame


def encode(
    words: np.ndarray, mask: np.ndarray | None, d: int, *, step: int = 0, sender: int = 0, out: np.ndarray | None = None
) -> np.ndarray:
    """Return the frame of one voter's words and mask, in `out` where it is given; see `electioncode.frame.encode`."""
    size = frame_bytes(d, 1 if mask is None else 2)
    if out is None:
        out = np.empty(size, dtype=np.uint8)
    elif out.dtype != np.uint8 or out.shape != (size,) or not out.flags.carray:
        raise ValueError(
            f"encode: out must be a writeable contiguous array of {size} uint8, got {out.dtype} {out.shape}"
        )
    to_words, to_mask = planes_of(out, d, mask is not None)
    to_words[:] = words
    if to_mask is not None:
        to_mask[:] = mask
    return seal(out, d, mask is not None, step=step, sender=sender)


def decode(buffer: Any, *, d: int | None = None, step: int | None = None, sender: int | None = None) -> Message:
    """Return what a frame holds; see `electioncode.frame.decode`.

    Any input gives either votes or FrameError: sizes are checked before a plane is read.
    """
    raw = _bytes_of(buffer)
    if raw.size < HEADER_BYTES:
        raise FrameError(f"frame: at least {HEADER_BYTES} bytes expected, got {raw.size}")
    magic, version, planes, coordinates, its_step, its_sender, reserved = _HEADER.unpack_from(raw.data, 0)
    fixed = (("magic", magic, MAGIC), ("version", version, VERSION), ("reserved bytes", reserved, 0))
    given = (("d", coordinates, d), ("step", its_step, step), ("sender", its_sender, sender))
    for name, value, expected in (*fixed, *given):
        if expected is not None and value != expected:
            raise FrameError(f"frame: {name} must be {expected!r}, got {value!r}")
    if planes not in (1, 2):
        raise FrameError(f"frame: planes must be 1 or 2, got {planes}")
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
    return Message(words, mask, coordinates, its_step, its_sender)


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
    """Return little-endian words as the core takes them: a copy only where they are not aligned."""
    words = words.astype(np.uint64, copy=False)
    return words if words.flags.aligned else words.copy()


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


def _checksum_of(frame: np.ndarray) -> int:
    """Return the checksum of a frame as if its checksum field were 0, without writing to it."""
    offset = (_CHECKSUM_WORD + 1) * 0x9E3779B97F4A7C15
    stored = int(frame[_CHECKSUM_WORD])
    return (int(checksum(frame)) - _mix((stored + offset) % 2**64) + _mix(offset % 2**64)) % 2**64


def _check_planes(words: np.ndarray, mask: np.ndarray | None, d: int) -> str | None:
    """Return what is wrong with the planes, or None."""
    if d % 64:
        padding = ~((1 << d % 64) - 1) % 2**64
        if int(words[-1]) & padding or (mask is not None and int(mask[-1]) & padding):
            return f"padding bits set after coordinate {d - 1}"
    if mask is not None and np.any(words & ~mask):
        return "votes set where the mask says that nobody voted"
    return None
