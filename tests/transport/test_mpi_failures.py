"""Liars, stragglers and the dead, over real MPI processes: each costs its own vote, and nobody hangs."""

from __future__ import annotations

import pytest
from launch import MPIS, over_mpi

BOTH = ("server", "allgather")
ALL = (*BOTH, "sharded")
PROGRAM = "transport/mpi_failures"
pytestmark = pytest.mark.parametrize("mpi", MPIS)


def among(scenario: str, *topologies: str) -> list[str]:
    return [f"{scenario}:{topology}" for topology in topologies]


def test_garbage_of_any_length_costs_its_sender_its_vote(mpi):
    assert over_mpi(mpi, 4, PROGRAM, *among("garbage", *ALL), *among("limit", *BOTH)) == 0


def test_a_huge_message_is_not_received(mpi):
    """Open MPI 5.0.11 crashes where a long message meets a short buffer."""
    assert over_mpi(mpi, 4, PROGRAM, *among("huge", *BOTH)) == 0


def test_who_is_late_or_out_of_step(mpi):
    steps = "behind", "far_behind", "silent_server", "missing_part", "late_before_digests", "ahead"
    assert over_mpi(mpi, 4, PROGRAM, *among("late", *BOTH), *among("quorum", *ALL), *steps) == 0


def test_a_flood_of_messages_is_one_vote(mpi):
    """In a job of its own: messages left over from the flood would reach the next transport."""
    assert over_mpi(mpi, 4, PROGRAM, "flood") == 0


def test_an_error_at_the_server_ends_the_step_everywhere_and_results_outlive_the_transport(mpi):
    assert over_mpi(mpi, 3, PROGRAM, "failing_server", "unclosed") == 0


def test_a_worker_that_leaves_in_order(mpi, tmp_path):
    assert over_mpi(mpi, 4, PROGRAM, f"leaves:quietly:{tmp_path}") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"0", "2", "3"}


@pytest.mark.parametrize("how", ["raises", "dies"])
def test_a_worker_that_dies_ends_the_job_by_default(mpi, how, tmp_path):
    """MPI ends the job; the test is that nobody hangs."""
    assert over_mpi(mpi, 4, PROGRAM, f"leaves:{how}:{tmp_path}") != 0


def test_a_worker_that_dies_costs_its_vote_where_the_launcher_lets_the_others_live(mpi, tmp_path):
    over_mpi(mpi, 4, PROGRAM, f"leaves:dies:{tmp_path}", survive=True)
    assert {path.name for path in tmp_path.iterdir()} == {"0", "2", "3"}
