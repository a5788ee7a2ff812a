"""FSDP2 over real processes and Gloo, on the CPU."""

from __future__ import annotations

import pytest
from ranks import start

pytest.importorskip("torch")


def test_votes_across_replicas_and_packed_reduce_scatter():
    start(6, "fsdp", "hsdp", "liars", "packed", "misuse")
