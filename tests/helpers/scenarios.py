"""Load a program of tests/*/programs and play its scenarios, in one of many processes."""

from __future__ import annotations

import faulthandler
import importlib
import signal
import sys
from pathlib import Path
from types import ModuleType


def load(program: str) -> ModuleType:
    """Import "folder/name", which is tests/folder/programs/name.py."""
    faulthandler.register(signal.SIGTERM, chain=True)  # a process that hangs says where
    folder, name = program.split("/")
    sys.path.insert(0, str(Path(__file__).parents[1] / folder / "programs"))
    return importlib.import_module(name)


def play(program: ModuleType, scenario: str, rank: int) -> None:
    """Call "function:argument:argument" of a program; an error says which scenario failed at which rank."""
    name, *arguments = scenario.split(":")
    try:
        getattr(program, name)(*arguments)
    except BaseException:
        print(f"rank {rank}, {scenario}:", file=sys.stderr, flush=True)
        raise
