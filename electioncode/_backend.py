"""The only door to the native modules: picks the kernels for an array and checks what Python hands them.

A backend knows one kind of array (NumPy, torch on the CPU, torch on one CUDA device) and turns it into what its core
takes: NumPy views for `_core`, tensors for the operations on a device (`_torch_device`), which have the same names.
Everything above works with native arrays and never asks where they live.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from electioncode import _core
from electioncode._torch_device import FLOAT_NAMES, CudaBackend, Device, is_traced

try:
    from electioncode import _cuda as _cuda_module
except ImportError as error:  # built without it, or its libraries are missing
    _cuda: Any = None
    _why_no_cuda = str(error)
else:
    _cuda, _why_no_cuda = _cuda_module, ""
if TYPE_CHECKING:
    import torch

ZERO = ("plus", "minus", "random", "abstain")
NAN = ("raise", "minus", "abstain")
TIE = ("plus", "minus", "random", "abstain")
PURPOSE_TIE: int = 0
PURPOSE_ZERO: int = 1
PURPOSE_ATTACK: int = 2
ROW, NOT_ROW, ROW_OR_NOT_MASK, MASK_AND_NOT_ROW = range(4)  # kinds of dots

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
    core: Any = core
    traceable = False

    def is_traced(self, a: Any) -> bool:
        return False

    def new(self, shape: tuple[int, ...], dtype: str) -> Any:
        """A new array for the core to fill."""
        return np.empty(shape, dtype=dtype)

    def integers(self, a: np.ndarray) -> Any:
        """What the core returned or filled, as an array of this kind."""
        return a

    def host(self, a: Any) -> np.ndarray:
        """Words as uint64 NumPy arrays: a view where there is one, a copy of what is on a device."""
        return self.view(a)

    def adopt(self, words: np.ndarray) -> Any:
        """A copy of uint64 words, of this kind of array."""
        return words.copy()

    def words(self, shape: tuple[int, ...]) -> Any:
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


class TorchBackend:
    """CPU torch tensors: words are int64 with the same bits."""

    name = "torch"
    traceable = True
    core = core

    def __init__(self) -> None:
        import torch

        self.torch = torch
        self.numpy = NumpyBackend()

    def is_traced(self, a: Any) -> bool:
        return is_traced(self.torch, a)

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

    def new(self, shape: tuple[int, ...], dtype: str) -> Any:
        return np.empty(shape, dtype=dtype)

    def integers(self, a: np.ndarray) -> Any:
        return self.torch.from_numpy(a)

    def host(self, a: Any) -> np.ndarray:
        return self.view(a)

    def adopt(self, words: np.ndarray) -> Any:
        return self.torch.from_numpy(words.copy().view(np.int64))


Backend = NumpyBackend | TorchBackend | CudaBackend
_numpy = NumpyBackend()
_torch: TorchBackend | CudaBackend | None = None
_devices: dict[int, CudaBackend] = {}


def backend_of(a: Any, function: str, argument: str = "x") -> Backend:
    """The backend for an array; a TypeError for anything else. Torch is looked at only if it is loaded."""
    global _torch
    if isinstance(a, np.ndarray):
        return _numpy
    if _torch is not None and type(a) is _torch.torch.Tensor and a.is_cpu:  # as below, in a tenth of the time
        return _torch
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(a, torch.Tensor):
        if a.device.type == "cuda":
            return _cuda_backend(a.device, function)
        if a.device.type != "cpu":
            raise TypeError(f"{function}: {argument} must be on the CPU or a CUDA device, got {a.device}")
        if _torch is None:
            _torch = TorchBackend()
        return _torch
    raise TypeError(f"{function}: {argument} must be a NumPy array or a torch tensor, got {type(a).__name__}")


def backend_on(device: Any) -> Backend:
    """The backend of torch's tensors on a device."""
    import torch

    return backend_of(torch.empty(0, device=device), "backend_on")


def cuda_unavailable() -> str | None:
    """Why no CUDA device can be used here; None where one can."""
    if _cuda is None:
        return (
            f"this build of electioncode has no CUDA kernels ({_why_no_cuda}): install the CUDA toolkit and build it "
            "again with ELECTIONCODE_CUDA=ON (pip install -C cmake.define.ELECTIONCODE_CUDA=ON electioncode)"
        )
    count, why = _cuda.device_count()
    return None if count else f"no usable GPU: {why}"


def _cuda_backend(device: torch.device, function: str) -> CudaBackend:
    index = device.index
    backend = _devices.get(index)
    if backend is None:
        why = cuda_unavailable()
        if why is not None:
            raise RuntimeError(f"{function}: {device} cannot be used: {why}")
        backend = _devices[index] = CudaBackend(_cuda, Device(device))
    return backend


def synchronize(device: Any = None) -> None:
    """Waits for what this package queued on torch's current CUDA stream, and raises what it found.

    Args:
        device: a CUDA device as torch names it; None: every device used so far.

    With nan="raise", a NaN on a CUDA device raises ValueError here, or in an earlier call that comes to know of it:
    the next on that device after the kernel has run, or the next that brings votes to the host. Nothing else in this
    package needs this call.
    """
    held = list(_devices.values())
    if device is not None:
        import torch

        wanted = torch.device(device)
        held = [b for b in held if b.device.torch_device == wanted or (wanted.type == "cuda" and wanted.index is None)]
    for backend in held:
        backend.device.wait()
        backend.core.raise_pending()


def numpy_backend() -> NumpyBackend:
    return _numpy


def build_config() -> dict[str, Any]:
    """Versions, compiler, instruction sets found and chosen, threads, CUDA: for bug reports.

    Keys: ``version``, ``compiler``, ``flags``, ``pybind11``, ``assertions``, ``instruction_sets`` (name -> this
    CPU can run it), ``instruction_set`` (the one in use), ``num_threads``, ``cuda`` (False, or the compiler and
    architectures of the CUDA kernels), ``cuda_devices`` (that can be used now), ``numpy``, ``python``.
    """
    return {
        **_core.build_info(),
        "instruction_sets": dict(_core.instruction_sets()),
        "instruction_set": _core.instruction_set(),
        "num_threads": _core.num_threads(),
        "cuda": False if _cuda is None else _cuda.built_for(),
        "cuda_devices": 0 if _cuda is None else _cuda.device_count()[0],
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
