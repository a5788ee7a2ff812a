"""Elections over real MPI processes: the same bits as in one process."""

from __future__ import annotations

import pytest
from launch import start

MPIS = ("mpich", "openmpi")
pytestmark = pytest.mark.parametrize("mpi", MPIS)


@pytest.mark.parametrize(
    ("topology", "size"), [("server", n) for n in (2, 4, 6)] + [("allgather", n) for n in (1, 3, 5)]
)
def test_equals_the_election_in_one_process(mpi, topology, size):
    assert start(mpi, size, "transport/mpi_votes", "equal", topology) == 0


@pytest.mark.parametrize(("topology", "size"), [("server", 6), ("allgather", 5)])
def test_a_perfect_code_under_attack_equals_no_attack(mpi, topology, size):
    assert start(mpi, size, "transport/mpi_votes", "perfect", topology) == 0


@pytest.mark.parametrize(("topology", "size"), [("server", 4), ("allgather", 4)])
def test_bytes_on_the_wire(mpi, topology, size):
    assert start(mpi, size, "transport/mpi_votes", "bytes_on_the_wire", topology) == 0


def test_subcommunicators(mpi):
    assert start(mpi, 6, "transport/mpi_votes", "subcommunicators") == 0


def test_transports_do_not_mix(mpi):
    assert start(mpi, 4, "transport/mpi_votes", "apart") == 0


def test_a_world_of_one(mpi):
    assert start(mpi, 1, "transport/mpi_votes", "alone") == 0


def test_misuse(mpi):
    assert start(mpi, 2, "transport/mpi_votes", "misuse") == 0
