"""Size, mask and count packed words: coordinate c is bit c % 64 of word c // 64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def words_for(d: int) -> int:
    """Return the number of words in a row of d coordinates."""
    return (d + 63) // 64


def full_mask(d: int) -> NDArray[np.uint64]:
    """Return ``(ceil(d / 64),)`` words with the bits of all d coordinates set and padding bits 0."""
    full = np.full(words_for(d), ~np.uint64(0))
    if d % 64:
        full[-1] = np.uint64((1 << (d % 64)) - 1)
    return full


def popcounts(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Count the ones of each word; the result has the shape of words."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(words).astype(np.int64)
    bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=-1)
    return bits.reshape(*words.shape, 64).sum(axis=-1, dtype=np.int64)
