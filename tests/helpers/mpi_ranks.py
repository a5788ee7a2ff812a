"""Play scenarios in one process of an MPI job: python -m mpi4py mpi_ranks.py <folder>/<program> <scenario>..."""

from __future__ import annotations

import sys
import time

from mpi4py import MPI
from scenarios import load, play

from electioncode.transport import MPITransport


def transport(topology: str, comm: MPI.Intracomm | None = None, **options) -> MPITransport:
    return MPITransport(comm, topology, trusted_workers=topology == "sharded", **options)


def meet() -> None:
    """Wait for all processes, asleep."""
    request = MPI.COMM_WORLD.Ibarrier()
    while not request.Test():
        time.sleep(1e-3)


if __name__ == "__main__":
    loaded, (first, *others) = load(sys.argv[1]), sys.argv[2:]
    play(loaded, first, MPI.COMM_WORLD.rank)
    for scenario in others:
        meet()
        play(loaded, scenario, MPI.COMM_WORLD.rank)
