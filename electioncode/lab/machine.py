"""The machine that numbers were measured on."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import electioncode
from electioncode import core
from electioncode.lab.errors import CommandError


@cache
def have(module: str) -> bool:
    """Return whether a module is installed, without importing it."""
    return importlib.util.find_spec(module) is not None


def describe() -> dict[str, Any]:
    """Return processor, caches, versions and load, and nothing that names the machine or its user."""
    config = electioncode.build_config()
    torch_version, gpu = "", None
    if have("torch"):
        import torch

        torch_version = torch.__version__
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": _cpu_model(),
        "cpus": usable_cpus(),
        "last_level_cache_bytes": last_level_cache(),
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
        "instruction_set": config["instruction_set"],
        "instruction_sets": electioncode.instruction_sets(),
        "electioncode": config["version"],
        "compiler": config["compiler"],
        "python": config["python"],
        "numpy": config["numpy"],
        "torch": torch_version,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def last_level_cache() -> int:
    """Return the bytes of the largest cache that the first CPU uses, 0 if the system does not say."""
    sizes = [0]
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        with contextlib.suppress(OSError, ValueError):
            text = file.read_text().strip()
            units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
            sizes.append(int(text.rstrip("KMG")) * units.get(text[-1:], 1))
    return max(sizes)


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def check_device(device: str) -> None:
    """Raise a CommandError unless torch and this package can use it; make a GPU compute the same bits every time."""
    import torch

    try:
        kind = torch.device(device).type
        why = core.cuda_unavailable() if kind == "cuda" else None if kind == "cpu" else "votes need cpu or cuda"
        if why is not None:
            raise CommandError(f"--device {device} cannot be used: {why}")
        if kind == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by deterministic algorithms
            torch.use_deterministic_algorithms(True)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch is built without CUDA
        torch.use_deterministic_algorithms(False)
        raise CommandError(f"--device {device} cannot be used: {error}") from error
