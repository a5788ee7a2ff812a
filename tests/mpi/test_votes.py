"""Elections over real MPI processes: the same bits as in one process."""

from __future__ import annotations

import pytest
from launch import start

MPIS = ("mpich", "openmpi")
pytestmark = pytest.mark.parametrize("mpi", MPIS)


@pytest.mark.parametrize(
    ("topology", "size"), [*(("server", n) for n in (2, 4, 6)), *(("allgather", n) for n in (1, 3, 5)), ("sharded", 4)]
)
def test_equals_the_election_in_one_process(mpi, topology, size):
    assert start(mpi, size, "votes", "equal", topology) == 0


@pytest.mark.parametrize(("topology", "size"), [("server", 6), ("allgather", 5)])
def test_a_perfect_code_under_attack_equals_no_attack(mpi, topology, size):
    assert start(mpi, size, "votes", "perfect", topology) == 0


@pytest.mark.parametrize(("topology", "size"), [("server", 4), ("allgather", 4), ("sharded", 4)])
def test_bytes_on_the_wire(mpi, topology, size):
    assert start(mpi, size, "votes", "bytes_on_the_wire", topology) == 0


@pytest.mark.parametrize("topology", ["server", "allgather", "sharded"])
def test_a_result_that_differs_is_noticed(mpi, topology):
    assert start(mpi, 4, "votes", "verified", topology) == 0


def test_subcommunicators(mpi):
    assert start(mpi, 6, "votes", "subcommunicators") == 0


def test_transports_do_not_mix(mpi):
    assert start(mpi, 4, "votes", "apart") == 0


def test_a_world_of_one(mpi):
    assert start(mpi, 1, "votes", "alone") == 0


def test_misuse(mpi):
    assert start(mpi, 2, "votes", "misuse") == 0
