"""What the programs share, with the elections of the tests above."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from mpi4py import MPI

import electioncode as ec
from electioncode.transport import MPITransport

sys.path.insert(0, str(Path(__file__).parents[1]))
from elections import Failing, Tampering, Without, cast, expected, garbage_of, gradients, vote

__all__ = ["Failing", "Tampering", "Without", "cast", "expected", "garbage_of", "gradients", "vote"]


def same(winner: ec.PackedSigns, other: ec.PackedSigns, what: object) -> None:
    assert winner == other, f"rank {MPI.COMM_WORLD.rank}: {what}"


def transport(topology: str, comm: MPI.Intracomm | None = None, **options) -> MPITransport:
    return MPITransport(comm, topology, trusted_workers=topology == "sharded", **options)


def main(scenarios: dict[str, Callable]) -> None:
    """Runs the scenario that the command line names, with its arguments."""
    scenarios[sys.argv[1]](*sys.argv[2:])
