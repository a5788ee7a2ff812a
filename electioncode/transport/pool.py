"""Keep memory for messages of a step to use again in the next: a model's messages all have the same length."""

from __future__ import annotations

import numpy as np


class Pool:
    """Free buffers of one size, at most `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free: list[np.ndarray] = []

    def take(self, size: int) -> np.ndarray:
        """Return a buffer of this size, with anything in it."""
        if self._free and self._free[0].size != size:  # the model has changed
            self._free.clear()
        return self._free.pop() if self._free else np.empty(size, dtype=np.uint8)

    def give(self, buffer: np.ndarray) -> None:
        """Take a buffer back that nobody reads any more."""
        if len(self._free) < self._limit and (not self._free or self._free[0].size == buffer.size):
            self._free.append(buffer)
