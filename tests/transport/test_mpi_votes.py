"""Elections over real MPI processes: the same bits as in one process."""

from __future__ import annotations

import pytest
from launch import MPIS, over_mpi

PROGRAM = "transport/mpi_votes"
TOPOLOGIES = ("server", "allgather", "sharded")
pytestmark = pytest.mark.parametrize("mpi", MPIS)
EQUAL = [f"equal:server:{n}" for n in (2, 4, 6)] + [f"equal:allgather:{n}" for n in (1, 3, 5)] + ["equal:sharded:4"]


def test_equals_the_election_in_one_process(mpi):
    assert over_mpi(mpi, 6, PROGRAM, *EQUAL) == 0


def test_attacks_bytes_communicators_and_misuse(mpi):
    perfect = "perfect:server:6", "perfect:allgather:5"
    sizes = [f"bytes_on_the_wire:{topology}" for topology in TOPOLOGIES]
    assert over_mpi(mpi, 6, PROGRAM, *perfect, *sizes, "subcommunicators", "apart", "misuse") == 0


def test_a_result_that_differs_is_noticed(mpi):
    assert over_mpi(mpi, 4, PROGRAM, *(f"verified:{topology}" for topology in TOPOLOGIES)) == 0


def test_a_world_of_one(mpi):
    assert over_mpi(mpi, 1, PROGRAM, "alone") == 0
