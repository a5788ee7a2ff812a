"""FSDP2 over real processes and Gloo, on the CPU."""

from __future__ import annotations

import pytest
from ranks import start

pytest.importorskip("torch")


def test_votes_across_replicas_and_packed_reduce_scatter():
    start(6, "hooks/fsdp", "hsdp", "liars", "packed", "misuse")


def test_on_a_device():
    """The same with the code for gradients on a GPU."""
    pytest.importorskip("electioncode.core._cuda_emulated")
    start(6, "hooks/fsdp", "emulated", "hsdp", "liars", "packed")
