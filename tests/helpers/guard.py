"""Allocate memory between inaccessible pages: reading or writing one byte too far is a segmentation fault."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

PAGE = mmap.PAGESIZE


def guarded(nbytes: int, at_end: bool) -> np.ndarray:
    """Return nbytes of memory that touch an inaccessible page, behind them (at_end) or in front of them."""
    size = -(-nbytes // PAGE) * PAGE
    area = mmap.mmap(-1, size + 2 * PAGE)
    view = np.frombuffer(area, dtype=np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for page in (0, PAGE + size):
        assert libc.mprotect(view.ctypes.data + page, PAGE, 0) == 0
    first = PAGE + (size - nbytes if at_end else 0)
    return view[first : first + nbytes]
