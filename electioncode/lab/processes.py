"""The processes of a run: this one alone, or all of MPI's world."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from electioncode.transport import InProcessTransport, MPITransport

T = TypeVar("T")


class Processes:
    """What the processes of a run do together; every process calls each method, in the same order.

    Args:
        world: an mpi4py communicator; None: this process is alone.
    """

    def __init__(self, world: Any = None) -> None:
        self.world = world

    @property
    def is_first(self) -> bool:
        """This process evaluates, writes and speaks."""
        return self.world is None or self.world.rank == 0

    def meet(self) -> None:
        """A barrier that sleeps: MPI's own would take the cores from those that it waits for."""
        if self.world is not None:
            request = self.world.Ibarrier()
            while not request.Test():
                time.sleep(1e-3)

    def gather(self, value: T) -> list[T]:
        """Everybody's value, in the order of ranks, at every process."""
        if self.world is None:
            return [value]
        self.meet()
        return self.world.allgather(value)

    def agree(self, make: Callable[[], T], errors: tuple[type[Exception], ...]) -> T:
        """What ``make`` returns; or, in every process, the first of these errors that it raised in any."""
        made, problem = None, None
        try:
            made = make()
        except errors as error:
            problem = error
        for other in self.gather(None if problem is None else str(problem)):
            if other is not None:
                raise problem or errors[0](other)
        return made  # type: ignore[return-value]

    def transport(self, num_workers: int, topology: str) -> InProcessTransport | MPITransport:
        """A new transport, for one scheme."""
        if self.world is None:
            return InProcessTransport(num_workers)
        self.meet()
        return MPITransport(self.world, topology=topology)
