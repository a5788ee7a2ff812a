"""Starts the ranks of a torch.distributed job, and takes a hang for a failure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = HERE.parent
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(HERE)}


def start(num_ranks: int, program: str, *scenarios: object, timeout: float = 400) -> None:
    """Run functions of the program "folder/name", one after the other, in every rank of one Gloo job.

    A scenario is a name, or "name:argument:argument". Fails, with the output, where a rank does.
    """
    command = [sys.executable, "-W", "error", str(HERE / "forked.py"), str(num_ranks), program, *map(str, scenarios)]
    run(command, timeout)


def run(command: list[str], timeout: float) -> str:
    """The output of a command; fails where it does or hangs."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        pytest.fail(f"{' '.join(command)} hung for {timeout} s\n{output}")
    if process.returncode:
        pytest.fail(f"{' '.join(command)} returned {process.returncode}\n{output}")
    return output
