"""The processes of a run: this one alone, or all of MPI's world."""

from __future__ import annotations

import os
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from electioncode.lab.errors import CommandError
from electioncode.transport import InProcessTransport, MPITransport

T = TypeVar("T")

# Environment variables in which MPI launchers say how many processes they start.
_WORLD_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")


class Processes:
    """The processes of a run. Every process calls each method, in the same order.

    Args:
        world: an mpi4py communicator; None: this process is alone.
    """

    def __init__(self, world: Any = None) -> None:
        self.world = world

    @property
    def is_first(self) -> bool:
        """Return whether this is the one process that evaluates, prints and writes files."""
        return self.world is None or self.world.rank == 0

    def meet(self) -> None:
        """Wait for all processes, asleep: MPI's own barrier would take CPU time from those still at work."""
        if self.world is not None:
            request = self.world.Ibarrier()
            while not request.Test():
                time.sleep(1e-3)

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, in the order of ranks, in every process."""
        if self.world is None:
            return [value]
        self.meet()
        return self.world.allgather(value)

    def agree(self, make: Callable[[], T]) -> T:
        """Return what ``make`` returns; if it raises a CommandError in any process, raise the first in all."""
        made, problem = None, None
        try:
            made = make()
        except CommandError as error:
            problem = error
        for other in self.gather(None if problem is None else str(problem)):
            if other is not None:
                raise problem or CommandError(other)
        return made  # type: ignore[return-value]

    def transport(self, num_workers: int, topology: str) -> InProcessTransport | MPITransport:
        """Open a transport for one training run."""
        if self.world is None:
            return InProcessTransport(num_workers)
        self.meet()
        return MPITransport(self.world, topology=topology)


def guess_transport() -> str:
    """Return "mpi" under a launcher of several processes, else "in-process"."""
    return "mpi" if any(int(os.environ.get(name, 1)) > 1 for name in _WORLD_SIZES) else "in-process"


def run_everywhere(
    body: Callable[[Processes], int], transport: str | None, num_workers: int, topology: str, argv: Sequence[str]
) -> int:
    """Run ``body`` in this process alone, or in every process of an MPI world of the right size.

    Args:
        body: returns an exit code. A CommandError, which all processes raise together, is printed once; any other
            error ends all processes.
        transport: "mpi", "in-process", or None to guess.
        num_workers: n of the elections to come.
        topology: of the elections to come.
        argv: the command's arguments, for the message that says how to start it.
    """
    if (transport or guess_transport()) == "in-process":
        return body(Processes())
    world = _world(num_workers, topology, argv if transport else [*argv, "--transport", "mpi"])
    try:
        return body(Processes(world))
    except CommandError as error:  # the same in every process: print it once
        raise error if world.rank == 0 else CommandError("") from error
    except BaseException:
        # The other processes wait for this one: end them too.
        traceback.print_exc()
        sys.stderr.flush()
        world.Abort(1)
        raise


def _world(num_workers: int, topology: str, argv: Sequence[str]) -> Any:
    """Return MPI's world, or raise a CommandError if it has the wrong size."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    needed = num_workers + (topology == "server")
    if world.size == needed:
        return world
    if world.rank > 0:
        raise CommandError("")  # rank 0 explains it
    script = Path(sys.argv[0]).name == "electioncode"
    program = "electioncode" if script else f"{sys.executable} -m electioncode"
    server = " and the server" if topology == "server" else ""
    raise CommandError(
        f"{num_workers} workers{server} over MPI need {needed} processes, got {world.size}. Type:\n\n"
        f"    mpiexec -n {needed} {program} {shlex.join(argv)}\n"
    )
