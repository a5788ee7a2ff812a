"""Start programs in several processes, under an MPI or torch.distributed; a hang is a failure.

Scenarios are functions of a program, "folder/name" for tests/folder/programs/name.py: "function", or
"function:argument:argument". Every process plays those of one launch one after the other.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

HELPERS = Path(__file__).parent
TESTS = HELPERS.parent
TIMEOUT = 400  # seconds: a slow machine is not a hang
MPIS = ("mpich", "openmpi")
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONPATH": str(HELPERS),
    "GLOO_SOCKET_IFNAME": "lo",
}


class Ended(NamedTuple):
    """The exit status and the output of a command."""

    status: int
    output: str


def finish(command: list[str], timeout: float = TIMEOUT, environment: dict[str, str] | None = None) -> Ended:
    """Run a command to its end; one that hangs fails the test and shows its output."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **ENVIRONMENT, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.terminate()  # a launcher ends its processes
        try:
            output, _ = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
        pytest.fail(f"{' '.join(command)} hung for {timeout} s\n{output}")
    sys.stdout.write(output)  # shown by pytest where the test fails
    return Ended(process.returncode, output)


def run(command: list[str], timeout: float = TIMEOUT, environment: dict[str, str] | None = None) -> str:
    """Return the output of a command, which has to succeed."""
    status, output = finish(command, timeout, environment)
    if status:
        pytest.fail(f"{' '.join(command)} returned {status}\n{output}")
    return output


def over_gloo(num_ranks: int, program: str, *scenarios: str) -> None:
    """Play scenarios in every rank of one Gloo job."""
    run([sys.executable, "-W", "error", str(HELPERS / "gloo_ranks.py"), str(num_ranks), program, *scenarios])


def script_over_gloo(num_ranks: int, script: Path, *options: str) -> str:
    """Return the output of a file whose ranks are forked in the environment that torchrun would give them."""
    return run([sys.executable, str(HELPERS / "gloo_ranks.py"), str(num_ranks), str(script), *options])


def under_torchrun(num_ranks: int, program: Path, *options: str) -> str:
    """Return the output of a program under torchrun."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_ranks)]
    return run([*launcher, str(program), *options])


def over_mpi(mpi: str, num_processes: int, program: str, *scenarios: str, survive: bool = False) -> int:
    """Return the exit status of a job in which every process plays scenarios."""
    arguments = [str(HELPERS / "mpi_ranks.py"), program, *scenarios]
    return under_mpi(mpi, num_processes, *arguments, survive=survive).status


def under_mpi(mpi: str, num_processes: int, *arguments: str, survive: bool = False) -> Ended:
    """Run Python with these arguments in processes under the MPI "mpich" or "openmpi".

    An exception in one process ends all of them (that is what ``-m mpi4py`` is for), and so does its death, unless
    ``survive`` is given.
    """
    launcher = find(mpi)
    if launcher is None:
        pytest.skip(f"{mpi} is not installed (make test installs it)")
    options = [launcher.lets_survive] if survive else []
    command = [launcher.program, *options, "-n", str(num_processes), sys.executable, "-m", "mpi4py", *arguments]
    return finish(command, environment=launcher.environment)


class Launcher(NamedTuple):
    """How to start processes under one MPI."""

    program: str
    environment: dict[str, str]
    lets_survive: str  # the option with which the death of one process does not end the others


def find(mpi: str) -> Launcher | None:
    """Return the launcher of this environment, else one on the PATH."""
    prefix = Path(sys.prefix)
    if mpi == "mpich":
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
    return Launcher(program, environment, lets_survive)


def _open_mpi_on_path() -> str | None:
    program = shutil.which("mpiexec.openmpi") or shutil.which("mpiexec")
    if program is None:
        return None
    version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    return program if "Open MPI" in version.stdout or "OpenRTE" in version.stdout else None
