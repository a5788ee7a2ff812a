"""The core's operations on CUDA tensors: the names and arguments of `_core`, with tensors in place of NumPy arrays.

They check every tensor, take its address, and queue the kernel on torch's current stream. Nothing here waits for the
GPU, and all memory is torch's, so calls can be captured in a CUDA graph.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from electioncode.core.words import words_for


class CudaOps:
    """The operations on one device.

    A NaN under the policy "raise" cannot be reported at once without waiting for the GPU. The kernel leaves a mark
    in pinned host memory, and the first call that sees it raises.
    """

    def __init__(self, native: Any, device: Any) -> None:
        import torch

        self.native = native
        self.device = device
        self._torch = torch
        self._dtypes = {torch.float16: 0, torch.bfloat16: 1, torch.float32: 2, torch.float64: 3, torch.int8: 4}
        self._silent = threading.local()
        self._saw_nan = device.pinned((1,), torch.int32)
        self._saw_nan.zero_()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Let calls of this thread leave the error of an earlier call to a later one."""
        self._silent.on = True
        try:
            yield
        finally:
            self._silent.on = False

    def raise_pending(self) -> None:
        """Raise what kernels that have run by now found."""
        if self._saw_nan.item():
            self._saw_nan.zero_()
            raise ValueError(
                f"electioncode: an earlier call on {self.device.torch_device} was given NaN, and voted -1 for it; "
                "choose nan='minus' or nan='abstain' to vote without it"
            )

    def pack(self, x: Any, words: Any, mask: Any, zero: int, nan: int, seed: int, step: int, stream: int) -> bool:
        rows, d = _rows_of(x)
        dtype, to, masks = self._dtype(x, 4), *self._planes(words, mask, len(rows), words_for(d))
        jobs = [(dtype, rows[i], 0, d, to[i], masks[i], 0, (stream + i) % 2**32) for i in range(len(rows))]
        flag = self._saw_nan.data_ptr()
        self._call(self.native.pack_tensors, jobs, 0.0, 0.0, False, zero, nan, seed, step, 0, flag, None)
        return False

    def pack_addresses(
        self,
        tensors: Sequence[tuple[int, int, int, int]],
        beta: float,
        weight: float,
        negate: bool,
        words: Any,
        mask: Any,
        zero: int,
        nan: int,
        seed: int,
        step: int,
        stream: int,
        first_word: int,
        split: tuple[float, float] | None,
        used: Any = None,
    ) -> bool:
        """As the core's. Where used ``(tensors,)``, bool, is False, a tensor votes nothing and its momentum stays.

        The caller guarantees that the addresses are on this device.
        """
        total = sum(words_for(d) for _, _, _, d in tensors)
        to, to_mask = self._row(words, total, "words"), self._maybe_row(mask, total, "mask")
        if split is not None and not all(v for _, _, v, d in tensors if d):
            raise ValueError("pack_addresses: momenta must be given where the momentum is split")
        jobs = []
        for dtype, x, v, d in tensors:
            jobs.append((dtype, x, v, d, to, to_mask, first_word, stream))
            nbytes = 8 * words_for(d)
            to, to_mask, first_word = to + nbytes, to_mask and to_mask + nbytes, first_word + nbytes // 8
        flags = 0
        if used is not None:
            flags = self._flat(used, "used")
            if used.dtype != self._torch.bool or used.numel() != len(tensors):
                raise ValueError(f"used must be {len(tensors)} bool, got {used.numel()} {used.dtype}")
        found = self._saw_nan.data_ptr()
        self._call(self.native.pack_tensors, jobs, beta, weight, negate, zero, nan, seed, step, flags, found, split)
        return False

    def unpack(self, words: Any, mask: Any, out: Any) -> None:
        rows, d = _rows_of(out)
        dtype, source, masks = self._dtype(out, 5), *self._planes(words, mask, len(rows), words_for(d))
        jobs = [(dtype, rows[i], d, source[i], masks[i]) for i in range(len(rows))]
        self._call(self.native.unpack_tensors, jobs)

    def unpack_tensors(self, outs: Sequence[Any], words: Any, mask: Any) -> None:
        """Write signs into flat tensors, each of which begins a word."""
        jobs = [(self._dtype(x, 5), self._flat(x, "outs"), x.numel()) for x in outs]
        self._call(self.native.unpack_tensors, self._with_words(jobs, words, mask))

    def update_addresses(
        self, params: Sequence[tuple[int, int, int]], words: Any, mask: Any, decay: float, step: float
    ) -> None:
        """Update (dtype, parameters, d); the caller guarantees that the addresses are on this device."""
        self._call(self.native.update_tensors, self._with_words(params, words, mask), decay, step)

    def majority(self, words: Any, masks: Any, weights: Sequence[int] | None, d: int, tie: int, *arguments: Any) -> Any:
        *keys, out, out_mask, count_differences = arguments
        to, voters = self._result(out, out_mask, d), self._voters(words, masks, words_for(d))
        self._call(self.native.majority, voters, weights, d, tie, *keys, *to)
        return self._disagreement(voters, *to, d) if count_differences else None

    def disagreement(self, words: Any, masks: Any, winner: Any, winner_mask: Any, d: int) -> Any:
        result = self._result(winner, winner_mask, d)
        return self._disagreement(self._voters(words, masks, words_for(d)), *result, d)

    def _disagreement(self, voters: list[tuple[int, int]], winner: int, winner_mask: int, d: int) -> Any:
        counts = self._torch.zeros(len(voters), dtype=self._torch.int64, device=self.device.torch_device)
        self._call(self.native.disagreement, voters, winner, winner_mask, d, counts.data_ptr())
        return counts

    def local_majorities(self, words: Any, masks: Any, first: Sequence[int], *arguments: Any) -> None:
        members, d, *rest, out, out_mask = arguments
        partitions = self._rows(words, masks, words.shape[0], words_for(d), "words")
        to = self._rows(out, out_mask, len(first) - 1, words_for(d), "out")
        self._call(self.native.local_majorities, partitions, first, members, d, *rest, to)

    def coded_majority(self, words: Any, masks: Any, first: Sequence[int], *arguments: Any) -> None:
        members, d, *rest, out, out_mask = arguments
        partitions = self._rows(words, masks, words.shape[0], words_for(d), "words")
        self._call(self.native.coded_majority, partitions, first, members, d, *rest, *self._result(out, out_mask, d))

    def accumulate(
        self, words: Any, mask: Any, kind: int, sums: Sequence[Any], pending: Sequence[Any], rest: Any, d: int
    ) -> None:
        width = words_for(d)
        self._call(
            self.native.accumulate,
            *self._result(words, mask, d),
            kind,
            [self._row(row, width, "sums") for row in sums],
            [self._row(row, width, "pending") for row in pending],
            self._row(rest, width, "rest"),
            d,
            check=False,  # an error halfway would leave the tally with part of a vote
        )

    def counters_majority(self, rows: Sequence[Any], planes: Sequence[int], maximum: int, d: int, *rest: Any) -> None:
        *keys, out, out_mask = rest
        counters, to = self._counters(rows, planes, d), self._result(out, out_mask, d)
        self._call(self.native.counters_majority, counters, maximum, d, *keys, *to)

    def counters_margin(self, rows: Sequence[Any], planes: Sequence[int], offset: int, d: int, out: Any) -> None:
        if out.dtype != self._torch.int32 or out.numel() != d:
            raise ValueError(f"counters_margin: out must be {d} int32, got {out.numel()} {out.dtype}")
        self._call(self.native.counters_margin, self._counters(rows, planes, d), offset, d, self._flat(out, "out"))

    # Tensors to addresses. Whatever Python passes, no kernel leaves its memory.

    def _call(self, function: Callable[..., Any], *arguments: Any, check: bool = True) -> None:
        if check and not getattr(self._silent, "on", False):
            self.raise_pending()
        memory: list[Any] = []  # torch gives it back to this stream after the call, so kernels may still use it

        def scratch(nbytes: int) -> int:
            memory.append(self._torch.empty(nbytes, dtype=self._torch.uint8, device=self.device.torch_device))
            return memory[-1].data_ptr()

        function(*arguments, self.device.index, self.device.stream(), scratch)

    def _check(self, t: Any, argument: str) -> None:
        if t.device != self.device.torch_device:
            raise ValueError(f"{argument} must be on {self.device.torch_device}, got {t.device}")
        if t.ndim and t.shape[-1] > 1 and t.stride(-1) != 1:
            raise ValueError(f"{argument} must be contiguous along its last axis, got strides {t.stride()}")

    def _dtype(self, t: Any, count: int) -> int:
        index = self._dtypes.get(t.dtype, count)
        if index >= count:
            raise ValueError(f"a kernel must be given floating-point numbers it knows, got {t.dtype}")
        return index

    def _flat(self, t: Any, argument: str) -> int:
        self._check(t, argument)
        if t.ndim != 1:
            raise ValueError(f"{argument} must be 1-D, got {tuple(t.shape)}")
        return t.data_ptr()

    def _row(self, t: Any, width: int, argument: str) -> int:
        self._check(t, argument)
        if t.dtype != self._torch.int64 or tuple(t.shape) != (width,):
            raise ValueError(f"{argument} must be {width} int64 words, got {t.dtype} {tuple(t.shape)}")
        return t.data_ptr()

    def _maybe_row(self, t: Any, width: int, argument: str) -> int:
        return 0 if t is None else self._row(t, width, argument)

    def _result(self, words: Any, mask: Any, d: int) -> tuple[int, int]:
        """Return the addresses of one row of words and of its mask (0: none)."""
        return self._row(words, words_for(d), "words"), self._maybe_row(mask, words_for(d), "mask")

    def _row_addresses(self, t: Any, rows: int, width: int, argument: str) -> list[int]:
        self._check(t, argument)
        shape = (width,) if t.ndim == 1 else (rows, width)
        if t.dtype != self._torch.int64 or tuple(t.shape) != shape or (t.ndim == 1 and rows != 1):
            raise ValueError(f"{argument} must be {rows} rows of {width} int64 words, got {t.dtype} {tuple(t.shape)}")
        return _rows_of(t)[0]

    def _planes(self, words: Any, mask: Any, rows: int, width: int) -> tuple[list[int], list[int]]:
        """Return the addresses of rows of words and of their masks (0: none)."""
        source = self._row_addresses(words, rows, width, "words")
        return source, [0] * rows if mask is None else self._row_addresses(mask, rows, width, "mask")

    def _with_words(self, jobs: Sequence[tuple[int, int, int]], words: Any, mask: Any) -> list[tuple[int, ...]]:
        """Append to each (dtype, address, d) the addresses of its words and mask, one after the other."""
        total = sum(words_for(d) for _, _, d in jobs)
        source, masks = self._row(words, total, "words"), self._maybe_row(mask, total, "mask")
        placed: list[tuple[int, ...]] = []
        for dtype, address, d in jobs:
            placed.append((dtype, address, d, source, masks))
            nbytes = 8 * words_for(d)
            source, masks = source + nbytes, masks and masks + nbytes
        return placed

    def _counters(self, rows: Sequence[Any], planes: Sequence[int], d: int) -> list[tuple[int, int]]:
        return [(self._row(row, words_for(d), "rows"), plane) for row, plane in zip(rows, planes, strict=True)]

    def _voters(self, words: Any, masks: Any, width: int) -> list[tuple[int, int]]:
        """Return rows of one tensor, or tensors that lie anywhere; masks may be None, whole or in part."""
        if isinstance(words, self._torch.Tensor):
            return list(zip(*self._planes(words, masks, words.shape[0] if words.ndim == 2 else 1, width), strict=True))
        held: Iterable[Any] = [None] * len(words) if masks is None else masks
        pairs = zip(words, held, strict=True)
        return [(self._row(row, width, "words"), self._maybe_row(mask, width, "masks")) for row, mask in pairs]

    def _rows(self, words: Any, mask: Any, rows: int, width: int, argument: str) -> tuple[int, int, int, int, int]:
        self._row_addresses(words, rows, width, argument)
        if mask is not None:
            self._row_addresses(mask, rows, width, argument)
        strides = [0 if t is None or rows < 2 else t.stride(0) for t in (words, mask)]
        if any(stride < 0 for stride in strides):
            raise ValueError(f"{argument} must have rows in rising order")
        return words.data_ptr(), 0 if mask is None else mask.data_ptr(), rows, strides[0], strides[1]


def _rows_of(t: Any) -> tuple[list[int], int]:
    """Return the addresses of the rows, and their length."""
    if t.ndim == 1:
        return [t.data_ptr()], t.shape[0]
    first, stride = t.data_ptr(), t.stride(0) * t.element_size()
    return [first + i * stride for i in range(t.shape[0])], t.shape[1]
