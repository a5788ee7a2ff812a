"""The only door to the native modules: picks the kernels for an array and checks what Python hands them.

A backend knows one kind of array (NumPy, or torch on the CPU) and turns it into the NumPy views that the core
takes. Everything above works with native arrays and never asks where they live.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from electioncode import _core

ZERO = ("plus", "minus", "random", "abstain")
NAN = ("raise", "minus", "abstain")
TIE = ("plus", "minus", "random", "abstain")
PURPOSE_TIE, PURPOSE_ZERO, PURPOSE_ATTACK = 0, 1, 2
ROW, NOT_ROW, ROW_OR_NOT_MASK, MASK_AND_NOT_ROW = range(4)  # kinds of dots

FLOAT_NAMES = ("float16", "bfloat16", "float32", "float64")

core: Any = _core  # for the modules above; untyped, since they hand over arguments by the tuple
checksum = _core.checksum


def policy(function: str, argument: str, value: str, choices: tuple[str, ...]) -> int:
    """Index of a policy, or a ValueError that lists them."""
    try:
        return choices.index(value)
    except ValueError:
        expected = ", ".join(repr(c) for c in choices)
        raise ValueError(f"{function}: {argument} must be one of {expected}, got {value!r}") from None


def key(function: str, **words: int) -> tuple[int, ...]:
    """Checks the 32-bit words of a random stream."""
    for name, value in words.items():
        if not 0 <= value < 2**32:
            raise ValueError(f"{function}: {name} must be from 0 to 2**32 - 1, got {value}")
    return tuple(words.values())


class NumpyBackend:
    """NumPy arrays: words are uint64."""

    name = "numpy"
    traceable = False

    def is_traced(self, a: Any) -> bool:
        return False

    def words(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.empty(shape, dtype=np.uint64)

    def is_words(self, a: Any) -> bool:
        return isinstance(a, np.ndarray) and a.dtype == np.uint64

    def view(self, a: np.ndarray) -> np.ndarray:
        """The array as the core takes words: aligned, contiguous along the last axis; a copy where it is not."""
        if a.flags.carray or ((a.shape[-1] <= 1 or a.strides[-1] == a.itemsize) and a.flags.aligned):
            return a
        return a.copy(order="C")

    def output(self, a: np.ndarray, function: str) -> np.ndarray:
        """The same for an array to be written, which must therefore not need a copy."""
        if self.view(a) is not a or not a.flags.writeable:
            raise ValueError(f"{function}: out must be writeable, aligned and contiguous along its last axis")
        return a

    def floats(self, a: np.ndarray, function: str) -> np.ndarray:
        """Floating-point numbers as the core takes them: native byte order, bfloat16 as its bits."""
        dtype = a.dtype
        if dtype.char not in "efd":  # float16, float32, float64
            if dtype.name != "bfloat16":
                raise TypeError(f"{function}: x must have dtype {' or '.join(FLOAT_NAMES)}, got {dtype}")
            a = a.view(np.uint16)
        elif not dtype.isnative:
            a = a.astype(dtype.newbyteorder("="))
        if a.ndim and a.shape[-1] > 1 and a.strides[-1] != a.itemsize:
            a = np.ascontiguousarray(a)
        return a

    def empty_signs(self, shape: tuple[int, ...], dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        """A new array for +1 / -1 / 0, and its view for the core."""
        out = np.empty(shape, dtype=np.float32 if dtype is None else dtype)
        return out, self.sign_view(out)

    def sign_view(self, out: np.ndarray) -> np.ndarray:
        if out.dtype != np.int8 and out.dtype.name not in FLOAT_NAMES:
            raise TypeError(f"unpack: dtype must be int8 or {' or '.join(FLOAT_NAMES)}, got {out.dtype}")
        return out.view(np.uint16) if out.dtype.name == "bfloat16" else out

    def integers(self, a: np.ndarray) -> Any:
        return a


class TorchBackend:
    """CPU torch tensors: words are int64 with the same bits."""

    name = "torch"
    traceable = True

    def __init__(self) -> None:
        import torch

        self.torch = torch
        self.numpy = NumpyBackend()

    def is_traced(self, a: Any) -> bool:
        """The tensor stands for one of a graph that torch.compile or torch.export is writing down."""
        torch = self.torch
        if torch.compiler.is_dynamo_compiling():
            return True
        return type(a) is not torch.Tensor and type(a) is not torch.nn.Parameter and torch.compiler.is_compiling()

    def words(self, shape: tuple[int, ...]) -> Any:
        return self.torch.empty(shape, dtype=self.torch.int64)

    def is_words(self, a: Any) -> bool:
        return isinstance(a, self.torch.Tensor) and a.dtype == self.torch.int64

    def view(self, a: Any) -> np.ndarray:
        return self.numpy.view(a.numpy().view(np.uint64))

    def output(self, a: Any, function: str) -> np.ndarray:
        return self.numpy.output(a.numpy().view(np.uint64), function)

    def floats(self, a: Any, function: str) -> np.ndarray:
        a = a.detach()
        if a.dtype == self.torch.bfloat16:
            a = a.contiguous().view(self.torch.int16)
            return a.numpy().view(np.uint16)
        if not a.dtype.is_floating_point or a.element_size() < 2:
            raise TypeError(f"{function}: x must have dtype {' or '.join(FLOAT_NAMES)}, got {a.dtype}")
        return self.numpy.floats(a.numpy(), function)

    def empty_signs(self, shape: tuple[int, ...], dtype: Any) -> tuple[Any, np.ndarray]:
        out = self.torch.empty(shape, dtype=self.torch.float32 if dtype is None else dtype)
        return out, self.sign_view(out)

    def sign_view(self, out: Any) -> np.ndarray:
        if out.dtype == self.torch.bfloat16:
            return out.view(self.torch.int16).numpy().view(np.uint16)
        return self.numpy.sign_view(out.numpy())

    def integers(self, a: np.ndarray) -> Any:
        return self.torch.from_numpy(a)


Backend = NumpyBackend | TorchBackend
_numpy = NumpyBackend()
_torch: TorchBackend | None = None


def backend_of(a: Any, function: str, argument: str = "x") -> Backend:
    """The backend for an array; a TypeError for anything else. Torch is looked at only if it is loaded."""
    global _torch
    if isinstance(a, np.ndarray):
        return _numpy
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(a, torch.Tensor):
        if a.device.type != "cpu":
            raise TypeError(f"{function}: {argument} must be on the CPU (this build has no CUDA core), got {a.device}")
        if _torch is None:
            _torch = TorchBackend()
        return _torch
    raise TypeError(f"{function}: {argument} must be a NumPy array or a torch tensor, got {type(a).__name__}")


def numpy_backend() -> NumpyBackend:
    return _numpy


def build_config() -> dict[str, Any]:
    """Versions, compiler, instruction sets found and chosen, threads, CUDA: for bug reports.

    Keys: ``version``, ``compiler``, ``flags``, ``pybind11``, ``assertions``, ``instruction_sets`` (name -> this
    CPU can run it), ``instruction_set`` (the one in use), ``num_threads``, ``cuda``, ``numpy``, ``python``.
    """
    return {
        **_core.build_info(),
        "instruction_sets": dict(_core.instruction_sets()),
        "instruction_set": _core.instruction_set(),
        "num_threads": _core.num_threads(),
        "cuda": False,
        "numpy": np.__version__,
        "python": sys.version.split()[0],
    }


def instruction_sets() -> list[str]:
    """Names of the instruction sets that this machine can run, best first; the last is ``"scalar"``."""
    return [name for name, available in _core.instruction_sets() if available]


def instruction_set() -> str:
    """The instruction set in use: the best, unless ``ELECTIONCODE_ISA`` or :func:`set_instruction_set` differs."""
    return _core.instruction_set()


def set_instruction_set(name: str | None = None) -> None:
    """Uses the kernels of one instruction set; ``None`` is the best. Results are the same bits on each.

    Raises ValueError for a name that is unknown or not available here.
    """
    _core.set_instruction_set(name or "")


def num_threads() -> int:
    """Threads of the core: ``ELECTIONCODE_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the usable CPUs."""
    return _core.num_threads()


def set_num_threads(n: int | None = None) -> None:
    """Sets the threads of the core (1 to 1024); ``None`` restores the default. Results do not depend on it."""
    if n is not None and not 1 <= n <= 1024:
        raise ValueError(f"set_num_threads: n must be from 1 to 1024, got {n}")
    _core.set_num_threads(n or 0)
