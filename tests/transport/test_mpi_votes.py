"""Elections over real MPI processes: the same bits as in one process."""

from __future__ import annotations

import pytest
from launch import MPIS, over_mpi

pytestmark = pytest.mark.parametrize("mpi", MPIS)
EQUAL = [f"equal:server:{n}" for n in (2, 4, 6)] + [f"equal:allgather:{n}" for n in (1, 3, 5)]


def test_equals_the_election_in_one_process(mpi):
    assert over_mpi(mpi, 6, "transport/mpi_votes", *EQUAL) == 0


def test_attacks_bytes_communicators_and_misuse(mpi):
    perfect = "perfect:server:6", "perfect:allgather:5"
    wire = "bytes_on_the_wire:server", "bytes_on_the_wire:allgather"
    assert over_mpi(mpi, 6, "transport/mpi_votes", *perfect, *wire, "subcommunicators", "apart", "misuse") == 0


def test_a_world_of_one(mpi):
    assert over_mpi(mpi, 1, "transport/mpi_votes", "alone") == 0
