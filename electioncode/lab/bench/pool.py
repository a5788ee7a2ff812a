"""Memory to measure on: more distinct buffers than any cache holds, visited in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from electioncode.lab.machine import last_level_cache

LINE = 64
_TILE = 1 << 23  # bytes of a pattern, repeated over a buffer: only addresses matter for speed


class TooLarge(Exception):
    """The case needs more memory than the pool may take."""


class Slots:
    """One buffer cut into equal slots; :meth:`next` goes through them in turn, for all rows together.

    Attributes:
        bytes: ``(slots, slot_bytes)`` uint8.
        last: the slot that `next` returned last.
    """

    def __init__(self, memory: np.ndarray, slot_bytes: int) -> None:
        stride = _aligned(slot_bytes)
        count = max(memory.size // stride, 1)
        self.bytes = memory[: count * stride].reshape(count, stride)[:, :slot_bytes]
        self.last = -1

    def __len__(self) -> int:
        return len(self.bytes)

    def next(self) -> int:
        """Return the number of the next slot."""
        self.last = (self.last + 1) % len(self.bytes)
        return self.last

    def arrays(self, dtype: Any, shape: tuple[int, ...]) -> list[np.ndarray]:
        """Return the start of every slot as an array."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return [slot[:size].view(dtype).reshape(shape) for slot in self.bytes]


class Pool:
    """Reserve memory once for all cases: the first touch of a page can cost more than its uses.

    Args:
        nbytes: of distinct memory that a row goes through. None: twice the last-level cache, at least 1 GiB.
        limit: of one buffer; what needs more raises TooLarge.
    """

    def __init__(self, nbytes: int | None = None, limit: int = 4 << 30) -> None:
        self.nbytes = max(1 << 30, 2 * last_level_cache()) if nbytes is None else nbytes
        self.limit = max(limit, self.nbytes)
        self._memory = _reserve(2 * self.nbytes + self.limit)
        self._used = 0
        self._filled: dict[tuple[int, str], int] = {}  # (offset, contents) -> bytes that still hold them
        self._slots: dict[tuple[str, int], Slots] = {}

    def new_case(self, naive: bool = False) -> None:
        """Let the buffers handed out so far be overwritten.

        Naive ways begin behind the first buffer, which the next case may need again.
        """
        self._used = _aligned(self.nbytes) if naive else 0
        self._slots.clear()

    def slots(self, contents: str, slot_bytes: int, share: int = 1) -> Slots:
        """Return slots filled with `contents`.

        Args:
            contents: a name in CONTENTS and, after a space, any tag.
            slot_bytes: of each slot.
            share: how many buffers a row goes through together; each gets an equal part of the memory.
        """
        key = (contents, slot_bytes)
        if key not in self._slots:
            needed = max(_aligned(self.nbytes // share), _aligned(slot_bytes))
            start, self._used = self._used, self._used + needed
            if needed > self.limit or self._used > self._memory.size:
                self._used = start
                raise TooLarge(f"needs {needed / 2**30:.2f} GiB, more than {self.limit / 2**30:.2f}")
            self._fill(start, needed, contents)
            self._slots[key] = Slots(self._memory[start : start + needed], slot_bytes)
        return self._slots[key]

    def _fill(self, start: int, nbytes: int, contents: str) -> None:
        if self._filled.get((start, contents), 0) >= nbytes:
            return
        kept = self._filled.items()
        self._filled = {k: n for k, n in kept if k[0] + n <= start or start + nbytes <= k[0]}
        self._filled[start, contents] = nbytes
        _fill(self._memory[start : start + nbytes], contents)


def _aligned(nbytes: int) -> int:
    return max(-(-nbytes // LINE) * LINE, LINE)


def _reserve(nbytes: int) -> np.ndarray:
    raw = np.empty(nbytes + LINE, dtype=np.uint8)  # the system provides pages when they are written
    start = -raw.ctypes.data % LINE
    return raw[start : start + nbytes]


def _normals(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw numbers that no format rounds to zero: the naive ways count zeros differently."""
    x = rng.standard_normal(count, dtype=np.float32)
    return np.where(np.abs(x) < 2.0**-10, np.float32(2.0**-10), x)


def _bfloat16(rng: np.random.Generator, nbytes: int) -> np.ndarray:
    return (_normals(rng, nbytes // 2).view(np.uint32) >> 16).astype(np.uint16)


def _floats(size: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    return lambda rng, nbytes: _normals(rng, nbytes // size).astype(f"f{size}")


def _signs(dtype: Any) -> Callable[[np.random.Generator, int], np.ndarray]:
    size = np.dtype(dtype).itemsize
    return lambda rng, nbytes: (2 * rng.integers(0, 2, nbytes // size, dtype=np.int8) - 1).astype(dtype)


CONTENTS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "bits": lambda rng, nbytes: rng.integers(0, 2**64, nbytes // 8, dtype=np.uint64),
    "zeros": lambda rng, nbytes: np.zeros(nbytes, dtype=np.uint8),
    "booleans": lambda rng, nbytes: rng.integers(0, 2, nbytes, dtype=np.uint8),
    "bfloat16": _bfloat16,
    **{f"float{8 * size}": _floats(size) for size in (2, 4, 8)},
    **{f"signs-{t}": _signs(t) for t in ("int8", "float32", "float64")},
}


def _fill(memory: np.ndarray, contents: str) -> None:
    name, _, _ = contents.partition(" ")
    rng = np.random.default_rng([ord(c) for c in contents])
    tile = CONTENTS[name](rng, min(_TILE, -(-memory.size // 8) * 8)).view(np.uint8)
    whole = memory.size // tile.size * tile.size
    memory[:whole].reshape(-1, tile.size)[:] = tile
    memory[whole:] = tile[: memory.size - whole]
