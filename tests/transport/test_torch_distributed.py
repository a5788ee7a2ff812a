"""TorchTransport over real processes and Gloo: few launches for many scenarios, each a function of a program."""

from __future__ import annotations

import pytest
from launch import TESTS, over_gloo, under_torchrun

pytest.importorskip("torch")
TOPOLOGIES = ("server", "allgather", "sharded")


def in_all_topologies(*scenarios):
    return [f"{scenario}:{topology}" for scenario in scenarios for topology in TOPOLOGIES]


def test_the_bits_of_the_election_in_one_process():
    over_gloo(4, "transport/torch_votes", *in_all_topologies("equal", "by_collectives"))


def test_messages_that_stay_on_a_device():
    pytest.importorskip("electioncode.core._cuda_emulated")
    over_gloo(4, "transport/torch_on_a_device", "on_a_device")


def test_bytes_limits_groups_misuse_and_results_that_differ():
    sizes = in_all_topologies("bytes_on_the_wire", "limit", "verified")
    over_gloo(4, "transport/torch_votes", *sizes, "kinds_of_messages", "subgroups", "apart", "misuse", "unclosed")


def test_liars_and_stragglers_cost_their_own_vote():
    late = ["late:server", "late:allgather", "behind", "far_behind", "silent_for_long"]
    some = in_all_topologies("garbage", "quorum")
    over_gloo(4, "transport/torch_failures", *some, "malformed_mail", *late, "silent_server", "failing_server")


def test_the_death_of_a_rank_costs_its_vote():
    over_gloo(4, "transport/torch_failures", "dies")


def test_processes_under_torchrun_end_in_order():
    assert under_torchrun(3, TESTS / "transport" / "programs" / "torch_leave.py").count("leaves") == 3
