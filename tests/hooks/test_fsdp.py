"""FSDP2 over real processes and Gloo, on the CPU."""

from __future__ import annotations

import pytest
from launch import over_gloo

pytest.importorskip("torch")


def test_votes_across_replicas_and_packed_reduce_scatter():
    over_gloo(6, "hooks/fsdp", "hsdp", "liars", "packed", "misuse")


def test_on_a_device():
    """The same with the code for gradients on a GPU."""
    pytest.importorskip("electioncode.core._cuda_emulated")
    over_gloo(6, "hooks/fsdp", "emulated", "hsdp", "liars", "packed")
