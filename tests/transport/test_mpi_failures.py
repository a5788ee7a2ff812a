"""Liars, stragglers and the dead, over real MPI processes: each costs its own vote, and nobody hangs."""

from __future__ import annotations

import pytest
from launch import start

MPIS = ("mpich", "openmpi")
pytestmark = pytest.mark.parametrize("mpi", MPIS)
BOTH = pytest.mark.parametrize(("topology", "size"), [("server", 4), ("allgather", 3)])


@BOTH
def test_garbage_costs_its_sender_its_vote(mpi, topology, size):
    assert start(mpi, size, "transport/mpi_failures", "garbage", topology) == 0


@BOTH
def test_a_huge_message_is_not_received(mpi, topology, size):
    """Open MPI 5.0.11 crashes where a long message meets a short buffer."""
    assert start(mpi, size, "transport/mpi_failures", "huge", topology) == 0


@BOTH
def test_overlong_messages_are_none(mpi, topology, size):
    assert start(mpi, size, "transport/mpi_failures", "limit", topology) == 0


@BOTH
def test_a_late_worker_is_left_out_of_its_step_alone(mpi, topology, size):
    assert start(mpi, size, "transport/mpi_failures", "late", topology) == 0


@BOTH
def test_a_vote_without_quorum_is_refused_everywhere(mpi, topology, size):
    assert start(mpi, size, "transport/mpi_failures", "quorum", topology) == 0


@pytest.mark.parametrize("scenario", ["behind", "far_behind", "silent_server", "flood", "ahead"])
def test_who_is_out_of_step(mpi, scenario):
    assert start(mpi, 4, "transport/mpi_failures", scenario) == 0


def test_an_error_at_the_server_ends_the_step_everywhere(mpi):
    assert start(mpi, 3, "transport/mpi_failures", "failing_server") == 0


def test_results_outlive_the_transport(mpi):
    assert start(mpi, 3, "transport/mpi_failures", "unclosed") == 0


def test_a_worker_that_leaves_in_order(mpi, tmp_path):
    assert start(mpi, 4, "transport/mpi_failures", "leaves", "quietly", tmp_path) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"0", "2", "3"}


@pytest.mark.parametrize("how", ["raises", "dies"])
def test_a_worker_that_dies_ends_the_job_by_default(mpi, how, tmp_path):
    """That is what MPI does; at any rate nobody hangs."""
    assert start(mpi, 4, "transport/mpi_failures", "leaves", how, tmp_path) != 0


def test_a_worker_that_dies_costs_its_vote_where_the_launcher_lets_the_others_live(mpi, tmp_path):
    start(mpi, 4, "transport/mpi_failures", "leaves", "dies", tmp_path, survive=True)
    assert {path.name for path in tmp_path.iterdir()} == {"0", "2", "3"}
