"""Errors that a command explains to its user."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

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


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn wrong values, unreadable files and missing modules into a CommandError."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise CommandError(str(error)) from error
    except ImportError as error:
        raise CommandError(missing_extra(error)) from error


def missing_extra(error: ImportError) -> str:
    """Return what to install for a missing module; raise the error again if no extra installs it."""
    module = (error.name or "").partition(".")[0]
    if module not in _EXTRAS:
        raise error
    what, extra = _EXTRAS[module]
    return f"needs {what}: pip install 'electioncode[{extra}]'"


def check_ranges(args: object, **limits: tuple[float, float]) -> None:
    """Raise a CommandError unless every option that was given is within its limits."""
    for option, (low, high) in limits.items():
        value = getattr(args, option)
        if value is not None and not low <= value <= high:
            raise CommandError(f"--{option.replace('_', '-')} must be from {low} to {high}, got {value}")
