"""What the programs share, with the elections of the tests above."""

from __future__ import annotations

import sys
from collections.abc import Callable

from elections import Tampering, Without, cast, expected, garbage_of, gradients, vote
from mpi4py import MPI

import electioncode as ec

__all__ = ["Tampering", "Without", "cast", "expected", "garbage_of", "gradients", "main", "same", "vote"]


def same(winner: ec.PackedSigns, other: ec.PackedSigns, what: object) -> None:
    assert winner == other, f"rank {MPI.COMM_WORLD.rank}: {what}"


def main(scenarios: dict[str, Callable]) -> None:
    """Runs the scenario that the command line names, with its arguments."""
    scenarios[sys.argv[1]](*sys.argv[2:])
