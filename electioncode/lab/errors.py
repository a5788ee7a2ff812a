"""Errors that a command explains to its user."""

from __future__ import annotations

import os

_EXTRAS = {
    "torch": ("PyTorch", "train"),
    "sklearn": ("scikit-learn", "train"),
    "matplotlib": ("matplotlib", "train"),
    "tqdm": ("tqdm", "train"),
    "PIL": ("Pillow", "train"),
    "mpi4py": ("mpi4py", "train"),
    "scipy": ("SciPy", "plan"),
}


class CommandError(Exception):
    """What the user asked for cannot be done; the message says what to do instead."""


def check_device(device: str) -> None:
    """Raises a CommandError unless torch can use the device; on a GPU, torch then computes the same bits every time."""
    import torch

    try:
        if torch.device(device).type == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what torch asks for below
            torch.use_deterministic_algorithms(True)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch is built without CUDA
        torch.use_deterministic_algorithms(False)
        raise CommandError(f"--device {device} cannot be used: {error}") from error


def missing_extra(error: ImportError) -> str:
    """What to install for a module that is not there; raises the error if no extra installs it."""
    module = (error.name or "").partition(".")[0]
    if module not in _EXTRAS:
        raise error
    what, extra = _EXTRAS[module]
    return f"needs {what}: pip install 'electioncode[{extra}]'"
