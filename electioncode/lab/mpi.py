"""What commands that run over MPI have in common."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from electioncode.lab.errors import CommandError

if TYPE_CHECKING:
    from electioncode.lab.processes import Processes

# How a launcher tells a process how many there are.
_WORLD_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")


def guess_transport() -> str:
    """The transport for this start: "mpi" under a launcher of several processes, else "in-process"."""
    return "mpi" if any(int(os.environ.get(name, 1)) > 1 for name in _WORLD_SIZES) else "in-process"


def run_everywhere(
    body: Callable[[Processes], int], transport: str | None, num_workers: int, topology: str, argv: Sequence[str]
) -> int:
    """Runs ``body`` in this process alone, or in every process of MPI's world, which must have the right size.

    Args:
        body: returns an exit code; a CommandError that all processes raise is said once, any other error ends all.
        transport: "mpi", "in-process", or None to guess.
        num_workers, topology: of the elections to come.
        argv: of the command, for the message that says how to start it.
    """
    from electioncode.lab.processes import Processes

    if (transport or guess_transport()) == "in-process":
        return body(Processes())
    given = list(argv) if transport else [*argv, "--transport", "mpi"]
    world = _world(num_workers, topology, given)
    try:
        return body(Processes(world))
    except CommandError as error:  # the same everywhere: said once
        raise error if world.rank == 0 else CommandError("") from error
    except BaseException:
        # The others wait for this process: end them too.
        traceback.print_exc()
        sys.stderr.flush()
        world.Abort(1)
        raise


def _world(num_workers: int, topology: str, argv: Sequence[str]) -> Any:
    """MPI's world, once it has the right size."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    needed = num_workers + (topology == "server")
    if world.size == needed:
        return world
    if world.rank > 0:
        raise CommandError("")  # rank 0 says it
    script = Path(sys.argv[0]).name == "electioncode"
    program = "electioncode" if script else f"{sys.executable} -m electioncode"
    server = " and the server" if topology == "server" else ""
    raise CommandError(
        f"{num_workers} workers{server} over MPI need {needed} processes, got {world.size}. Type:\n\n"
        f"    mpiexec -n {needed} {program} {shlex.join(argv)}\n"
    )
