"""The DDP hook over real processes and Gloo: few launches for many scenarios, each a function of ddp.py."""

from __future__ import annotations

import pytest
from ranks import start

pytest.importorskip("torch")


def test_three_ranks():
    dtypes = "votes:uncoded:float32:float64:float16:bfloat16"
    start(3, "hooks/ddp", dtypes, "votes:cyclic", "votes:repetition", "policies", "unused", "liars:1", "differing")


def test_six_ranks():
    start(6, "hooks/ddp", "votes:uncoded", "liars:2")


def test_checkpoints_and_options():
    start(2, "hooks/ddp", "checkpoints", "dense", "wrapper", "misuse")


def test_on_a_device():
    """The same with the code for gradients on a GPU."""
    pytest.importorskip("electioncode.core._cuda_emulated")
    votes = "votes:uncoded:float64:float16:bfloat16", "votes:cyclic"
    start(3, "hooks/ddp", "emulated", *votes, "unused", "liars:1", "differing")
    start(2, "hooks/ddp", "emulated", "checkpoints", "dense", "wrapper", "across")


@pytest.mark.slow
def test_compiled_models_vote():
    start(2, "hooks/ddp", "compiled")
