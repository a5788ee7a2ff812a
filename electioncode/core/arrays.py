"""Know four kinds of arrays: NumPy's, torch's on the CPU, torch's on a CUDA device, and torch's under torch.compile.

Each kind has the same members and turns its arrays into what its `core` takes: NumPy views for the native module,
tensors for the operations on a device (`cuda_ops`) and for the operators of a graph (`traced`). Everything above works
on arrays and never asks where they live.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from electioncode.core.checks import FLOAT_NAMES
from electioncode.core.cuda_ops import CudaOps
from electioncode.core.native import cpu

if TYPE_CHECKING:
    import torch

_FLOATS = " or ".join(FLOAT_NAMES)


class _Arrays:
    torch: Any = None

    def __init__(self) -> None:
        self.eager: Any = self  # the kind that holds the memory: this one, where nothing is traced

    def integers(self, a: Any) -> Any:
        """Return what the core counted as an array of this kind."""
        return a


class NumpyArrays(_Arrays):
    """NumPy arrays: words are uint64."""

    name = "numpy"
    core: Any = cpu
    word: Any = np.dtype(np.uint64)

    def empty(self, shape: tuple[int, ...], dtype: Any = np.uint64) -> Any:
        """Make an array: of words, or of another dtype."""
        return np.empty(shape, dtype=dtype)

    def view(self, a: np.ndarray) -> np.ndarray:
        """Return the array as the core takes it, aligned and contiguous along the last axis: a copy where it is not."""
        if a.flags.carray or ((a.shape[-1] <= 1 or a.strides[-1] == a.itemsize) and a.flags.aligned):
            return a
        return a.copy(order="C")

    def output(self, a: np.ndarray, function: str) -> np.ndarray:
        """Return the same for an array to be written, which must therefore not need a copy."""
        if self.view(a) is not a or not a.flags.writeable:
            raise ValueError(f"{function}: out must be writeable, aligned and contiguous along its last axis")
        return a

    def signs(self, out: np.ndarray) -> np.ndarray:
        """Return an array for +1, -1 and 0 as the core takes it."""
        if out.dtype != np.int8 and out.dtype.name not in FLOAT_NAMES:
            raise TypeError(f"unpack: dtype must be int8 or {_FLOATS}, got {out.dtype}")
        return out.view(np.uint16) if out.dtype.name == "bfloat16" else out

    def floats(self, a: np.ndarray, function: str) -> np.ndarray:
        """Return floating-point numbers as the core takes them: native byte order, bfloat16 as its bits."""
        dtype = a.dtype
        if dtype.char not in "efd":  # float16, float32, float64
            if dtype.name != "bfloat16":
                raise TypeError(f"{function}: x must have dtype {_FLOATS}, got {dtype}")
            a = a.view(np.uint16)
        elif not dtype.isnative:
            a = a.astype(dtype.newbyteorder("="))
        if a.ndim and a.shape[-1] > 1 and a.strides[-1] != a.itemsize:
            a = np.ascontiguousarray(a)
        return a

    def host(self, a: Any) -> np.ndarray:
        """Return words as a uint64 NumPy array: a view where there is one, a copy of what is on a device."""
        return self.view(a)

    def adopt(self, a: np.ndarray) -> Any:
        """Copy words or floats of a NumPy array into one of this kind."""
        return a.copy()


class TorchArrays(_Arrays):
    """torch tensors on the CPU: words are int64 with the same bits. The core takes NumPy views of them."""

    name = "torch"
    core = cpu

    def __init__(self) -> None:
        import torch

        super().__init__()
        self.torch, self.word = torch, torch.int64
        self._numpy = NumpyArrays()

    def empty(self, shape: tuple[int, ...], dtype: Any = "int64") -> Any:
        return self.torch.empty(shape, dtype=_torch_dtype(self.torch, dtype))

    def view(self, a: Any) -> np.ndarray:
        return self._numpy.view(_unsigned(a.numpy()))

    def output(self, a: Any, function: str) -> np.ndarray:
        return self._numpy.output(_unsigned(a.numpy()), function)

    def signs(self, out: Any) -> np.ndarray:
        if out.dtype == self.torch.bfloat16:
            return out.view(self.torch.int16).numpy().view(np.uint16)
        return self._numpy.signs(out.numpy())

    def floats(self, a: Any, function: str) -> np.ndarray:
        a = a.detach()
        if a.dtype == self.torch.bfloat16:
            a = a.contiguous().view(self.torch.int16)
            return a.numpy().view(np.uint16)
        _check_floats(a, function)
        return self._numpy.floats(a.numpy(), function)

    def integers(self, a: np.ndarray) -> Any:
        return self.torch.from_numpy(a)

    def host(self, a: Any) -> np.ndarray:
        return self.view(a)

    def adopt(self, a: np.ndarray) -> Any:
        return self.torch.from_numpy(_signed(a.copy()))


class CudaArrays(_Arrays):
    """torch tensors on one CUDA device: words are int64 with the same bits. The core takes the tensors themselves."""

    name = "cuda"

    def __init__(self, native: Any, device: Device) -> None:
        import torch

        super().__init__()
        self.torch, self.word = torch, torch.int64
        self.device = device
        self.core: Any = CudaOps(native, device)

    def empty(self, shape: tuple[int, ...], dtype: Any = "int64") -> Any:
        return self.torch.empty(shape, dtype=_torch_dtype(self.torch, dtype), device=self.device.torch_device)

    def view(self, a: torch.Tensor) -> torch.Tensor:
        return a if a.ndim == 0 or a.shape[-1] <= 1 or a.stride(-1) == 1 else a.contiguous()

    def output(self, a: torch.Tensor, function: str) -> torch.Tensor:
        overlaps = a.ndim == 2 and a.shape[0] > 1 and a.stride(0) < a.shape[1]
        if self.view(a) is not a or overlaps:
            raise ValueError(f"{function}: out must be contiguous along its last axis, got strides {a.stride()}")
        return a

    def signs(self, out: torch.Tensor) -> torch.Tensor:
        if out.dtype != self.torch.int8 and (not out.dtype.is_floating_point or out.element_size() < 2):
            raise TypeError(f"unpack: dtype must be int8 or {_FLOATS}, got {out.dtype}")
        return self.output(out, "unpack")

    def floats(self, a: torch.Tensor, function: str) -> torch.Tensor:
        _check_floats(a, function)
        return self.view(a.detach())

    def host(self, a: torch.Tensor) -> np.ndarray:
        copy = self.device.pinned(a.shape, a.dtype)
        copy.copy_(a, non_blocking=True)
        self.device.wait()
        self.core.raise_pending()
        return copy.numpy().view(np.uint64)

    def adopt(self, a: np.ndarray) -> torch.Tensor:
        """Copy words or floats to the device, without waiting."""
        here = self.torch.from_numpy(_signed(a))
        staging = self.device.pinned(here.shape, here.dtype).copy_(here)
        return staging.to(self.device.torch_device, non_blocking=True, copy=True)


class TracedArrays:
    """torch tensors of a graph that torch.compile or torch.export is writing down; the core takes the tensors.

    Args:
        eager: the kind that the tensors will be of when the graph runs.
        operators: the module `traced`.
    """

    name = "traced"

    def __init__(self, eager: Any, operators: Any) -> None:
        self.eager, self.core = eager, operators
        self.word, self.empty = eager.word, eager.empty

    def _unchanged(self, a: torch.Tensor, function: str = "") -> torch.Tensor:
        return a

    view = output = signs = floats = integers = _unchanged


class Device:
    """A CUDA device as the kernels see it. Tests substitute a stand-in on the CPU."""

    def __init__(self, device: torch.device) -> None:
        import torch

        self._torch = torch
        self.torch_device = device
        self.index: int = torch.cuda.current_device() if device.index is None else device.index

    def stream(self) -> int:
        """Return the handle of torch's current stream."""
        return self._torch.cuda.current_stream(self.torch_device).cuda_stream

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Make a tensor in host memory that the device reads and writes itself."""
        return self._torch.empty(tuple(shape), dtype=dtype, pin_memory=True)

    def wait(self) -> None:
        """Wait until all that was queued on the current stream is done."""
        self._torch.cuda.current_stream(self.torch_device).synchronize()


def is_traced(torch: Any, a: Any) -> bool:
    """Tell whether the tensor belongs to a graph that torch.compile or torch.export is writing down."""
    if torch.compiler.is_dynamo_compiling():
        return True
    return type(a) is not torch.Tensor and type(a) is not torch.nn.Parameter and torch.compiler.is_compiling()


def _unsigned(a: np.ndarray) -> np.ndarray:
    """Return torch's words as the core's; other dtypes unchanged."""
    return a.view(np.uint64) if a.dtype == np.int64 else a


def _signed(a: np.ndarray) -> np.ndarray:
    """Return the core's words as torch's; other dtypes unchanged."""
    return a.view(np.int64) if a.dtype == np.uint64 else a


def _torch_dtype(torch: Any, dtype: Any) -> Any:
    return getattr(torch, dtype) if isinstance(dtype, str) else dtype


def _check_floats(a: torch.Tensor, function: str) -> None:
    if not a.dtype.is_floating_point or a.element_size() < 2:
        raise TypeError(f"{function}: x must have dtype {_FLOATS}, got {a.dtype}")
