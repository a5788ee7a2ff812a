"""Pick the kernels for an array, and set what the native core runs on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from electioncode.core import native
from electioncode.core.arrays import CudaArrays, Device, NumpyArrays, TorchArrays
from electioncode.core.native import cpu

if TYPE_CHECKING:
    import torch

Backend = NumpyArrays | TorchArrays | CudaArrays
_numpy = NumpyArrays()
_torch: TorchArrays | CudaArrays | None = None
_devices: dict[int, CudaArrays] = {}


def backend_of(a: Any, function: str, argument: str = "x") -> Backend:
    """Return the backend of an array; raise TypeError for anything else. torch is looked at only where it is loaded."""
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
            _torch = TorchArrays()
        return _torch
    raise TypeError(f"{function}: {argument} must be a NumPy array or a torch tensor, got {type(a).__name__}")


def backend_on(device: Any) -> Backend:
    """Return the backend of torch's tensors on a device."""
    import torch

    return backend_of(torch.empty(0, device=device), "backend_on")


def cuda_unavailable() -> str | None:
    """Return why no CUDA device can be used here, or None where one can."""
    if native.cuda is None:
        return (
            f"this build of electioncode has no CUDA kernels ({native.why_no_cuda}): install the CUDA toolkit and "
            "build it again with ELECTIONCODE_CUDA=ON (pip install -C cmake.define.ELECTIONCODE_CUDA=ON electioncode)"
        )
    count, why = native.cuda.device_count()
    return None if count else f"no usable GPU: {why}"


def _cuda_backend(device: torch.device, function: str) -> CudaArrays:
    index = device.index
    backend = _devices.get(index)
    if backend is None:
        why = cuda_unavailable()
        if why is not None:
            raise RuntimeError(f"{function}: {device} cannot be used: {why}")
        backend = _devices[index] = CudaArrays(native.cuda, Device(device))
    return backend


def synchronize(device: Any = None) -> None:
    """Wait for what this package queued on torch's current CUDA stream, and raise what it found.

    Args:
        device: a CUDA device as torch names it; None: every device used so far.

    With nan="raise", a NaN on a CUDA device raises ValueError here, or in whichever earlier call notices it: the
    next on that device after the kernel has run, or the next that brings votes to the host. Nothing else in this
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


def numpy_backend() -> NumpyArrays:
    """Return the backend of NumPy arrays."""
    return _numpy


def build_config() -> dict[str, Any]:
    """Return versions, compiler, instruction sets found and chosen, threads and CUDA: what a bug report needs.

    Keys: ``version``, ``compiler``, ``flags``, ``pybind11``, ``assertions``, ``instruction_sets`` (name -> this
    CPU can run it), ``instruction_set`` (the one in use), ``num_threads``, ``cuda`` (False, or the compiler and
    architectures of the CUDA kernels), ``cuda_devices`` (that can be used now), ``numpy``, ``python``.
    """
    return {
        **cpu.build_info(),
        "instruction_sets": dict(cpu.instruction_sets()),
        "instruction_set": cpu.instruction_set(),
        "num_threads": cpu.num_threads(),
        "cuda": False if native.cuda is None else native.cuda.built_for(),
        "cuda_devices": 0 if native.cuda is None else native.cuda.device_count()[0],
        "numpy": np.__version__,
        "python": sys.version.split()[0],
    }


def instruction_sets() -> list[str]:
    """Return the names of the instruction sets that this machine can run, best first; the last is ``"scalar"``."""
    return [name for name, available in cpu.instruction_sets() if available]


def instruction_set() -> str:
    """Return the instruction set in use: the best, unless ``ELECTIONCODE_ISA`` or `set_instruction_set` differs."""
    return cpu.instruction_set()


def set_instruction_set(name: str | None = None) -> None:
    """Use the kernels of one instruction set; ``None`` is the best. Results are the same bits on each.

    Raises ValueError for a name that is unknown or not available here.
    """
    cpu.set_instruction_set(name or "")


def num_threads() -> int:
    """Return the threads of the core: ``ELECTIONCODE_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the usable CPUs."""
    return cpu.num_threads()


def set_num_threads(n: int | None = None) -> None:
    """Set the threads of the core (1 to 1024); ``None`` restores the default. Results do not depend on it."""
    if n is not None and not 1 <= n <= 1024:
        raise ValueError(f"set_num_threads: n must be from 1 to 1024, got {n}")
    cpu.set_num_threads(n or 0)
