"""CUDA tensors as a kind of array: what `_backend` has for NumPy and for torch on the CPU, for one CUDA device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from electioncode._cuda_ops import CudaOps

if TYPE_CHECKING:
    import torch

FLOAT_NAMES = ("float16", "bfloat16", "float32", "float64")


class Device:
    """What the kernels need to know of a CUDA device; tests have another one, of the CPU."""

    def __init__(self, device: torch.device) -> None:
        import torch

        self.torch_device = device
        self.index: int = torch.cuda.current_device() if device.index is None else device.index
        self._cuda = torch.cuda

    def stream(self) -> int:
        """The handle of torch's current stream."""
        return self._cuda.current_stream(self.torch_device).cuda_stream

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Host memory that the device reads and writes itself."""
        import torch

        return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)

    def wait(self) -> None:
        """Until all that was queued on the current stream is done."""
        self._cuda.current_stream(self.torch_device).synchronize()


class CudaBackend:
    """torch tensors on one CUDA device: words are int64 with the same bits. The core takes the tensors themselves."""

    name = "cuda"
    traceable = True

    def __init__(self, native: Any, device: Device) -> None:
        import torch

        self.torch = torch
        self.device = device
        self.core: Any = CudaOps(native, device)

    def is_traced(self, a: Any) -> bool:
        return is_traced(self.torch, a)

    def words(self, shape: tuple[int, ...]) -> Any:
        return self.new(shape, "int64")

    def new(self, shape: tuple[int, ...], dtype: str) -> Any:
        return self.torch.empty(shape, dtype=getattr(self.torch, dtype), device=self.device.torch_device)

    def is_words(self, a: Any) -> bool:
        return isinstance(a, self.torch.Tensor) and a.dtype == self.torch.int64

    def view(self, a: torch.Tensor) -> torch.Tensor:
        return a if a.ndim == 0 or a.shape[-1] <= 1 or a.stride(-1) == 1 else a.contiguous()

    def output(self, a: torch.Tensor, function: str) -> torch.Tensor:
        overlaps = a.ndim == 2 and a.shape[0] > 1 and a.stride(0) < a.shape[1]
        if self.view(a) is not a or overlaps:
            raise ValueError(f"{function}: out must be contiguous along its last axis, got strides {a.stride()}")
        return a

    def floats(self, a: torch.Tensor, function: str) -> torch.Tensor:
        if not a.dtype.is_floating_point or a.element_size() < 2:
            raise TypeError(f"{function}: x must have dtype {' or '.join(FLOAT_NAMES)}, got {a.dtype}")
        return self.view(a.detach())

    def empty_signs(self, shape: tuple[int, ...], dtype: Any) -> tuple[torch.Tensor, torch.Tensor]:
        kind = self.torch.float32 if dtype is None else dtype
        out = self.torch.empty(shape, dtype=kind, device=self.device.torch_device)
        return out, self.sign_view(out)

    def sign_view(self, out: torch.Tensor) -> torch.Tensor:
        if out.dtype != self.torch.int8 and (not out.dtype.is_floating_point or out.element_size() < 2):
            raise TypeError(f"unpack: dtype must be int8 or {' or '.join(FLOAT_NAMES)}, got {out.dtype}")
        return self.output(out, "unpack")

    def integers(self, a: torch.Tensor) -> torch.Tensor:
        return a

    def host(self, a: torch.Tensor) -> np.ndarray:
        words = _host_words(self.device, a)
        self.core.raise_pending()
        return words

    def adopt(self, words: np.ndarray) -> torch.Tensor:
        return _device_words(self.device, words)


def is_traced(torch: Any, a: Any) -> bool:
    """The tensor stands for one of a graph that torch.compile or torch.export is writing down."""
    if torch.compiler.is_dynamo_compiling():
        return True
    return type(a) is not torch.Tensor and type(a) is not torch.nn.Parameter and torch.compiler.is_compiling()


def _host_words(device: Device, t: Any) -> np.ndarray:
    """A copy of words as uint64 in pinned memory; waits for it."""
    copy = device.pinned(t.shape, t.dtype)
    copy.copy_(t, non_blocking=True)
    device.wait()
    return copy.numpy().view(np.uint64)


def _device_words(device: Device, words: np.ndarray) -> Any:
    """A copy of uint64 words on the device; does not wait."""
    import torch

    staging = device.pinned(words.shape, torch.int64)
    staging.numpy().view(np.uint64)[...] = words
    return staging.to(device.torch_device, non_blocking=True, copy=True)
