"""The DDP hook over real processes and Gloo: few launches for many scenarios, each a function of ddp.py."""

from __future__ import annotations

import pytest
from launch import over_gloo

pytest.importorskip("torch")


def test_three_ranks():
    dtypes = "votes:uncoded:float32:float64:float16:bfloat16"
    over_gloo(3, "hooks/ddp", dtypes, "votes:cyclic", "votes:repetition", "policies", "unused", "liars:1", "differing")


def test_six_ranks():
    over_gloo(6, "hooks/ddp", "votes:uncoded", "liars:2")


def test_checkpoints_and_options():
    over_gloo(2, "hooks/ddp", "checkpoints", "dense", "wrapper", "misuse")


def test_on_a_device():
    """The same with the code for gradients on a GPU."""
    pytest.importorskip("electioncode.core._cuda_emulated")
    votes = "votes:uncoded:float64:float16:bfloat16", "votes:cyclic"
    over_gloo(3, "hooks/ddp", "emulated", *votes, "unused", "liars:1", "differing")
    over_gloo(2, "hooks/ddp", "emulated", "checkpoints", "dense", "wrapper", "across")


@pytest.mark.slow
def test_compiled_models_vote():
    over_gloo(2, "hooks/ddp", "compiled")
