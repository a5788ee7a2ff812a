"""The command line: ``electioncode <command>``, one module ``cli_<command>.py`` a command."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

COMMANDS = ("train", "reproduce", "plan", "bench")
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


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, or 2 after an error that the message explains.

    Args:
        argv: the arguments after ``electioncode``; None: those of the process.
    """
    parser, runs = _parser()
    args = parser.parse_args(argv)
    args.argv = list(sys.argv[1:] if argv is None else argv)
    try:
        return runs[args.command](args)
    except CommandError as error:
        message = str(error)
    except ImportError as error:
        message = missing_extra(error)
    if message:
        print(f"electioncode {args.command}: error: {message}", file=sys.stderr)
    return 2


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


def _parser() -> tuple[argparse.ArgumentParser, dict[str, Callable[[Any], int]]]:
    """The parser, and the function behind each command."""
    parser = argparse.ArgumentParser(
        prog="electioncode",
        description="Sign voting for distributed training that stays right when some workers lie.",
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="command")
    runs: dict[str, Callable[[Any], int]] = {}
    for command in COMMANDS:
        name = f"electioncode.cli_{command}"
        if importlib.util.find_spec(name) is not None:
            module = importlib.import_module(name)
            module.add_parser(subparsers)
            runs[command] = module.run
    subparsers.add_parser(
        "info",
        help="versions, compiler, instruction sets, threads, CUDA: what a bug report needs",
        description="Prints what this installation is made of.",
    )
    runs["info"] = _info
    return parser, runs


def _info(args: argparse.Namespace) -> int:
    import electioncode

    config = electioncode.build_config()
    width = max(map(len, config))
    for key, value in config.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k}: {'yes' if v is True else 'no' if v is False else v}" for k, v in value.items())
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        print(f"{key:<{width}}  {value}")
    return 0
