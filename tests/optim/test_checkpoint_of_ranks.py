"""Checkpoints over real processes and Gloo: each scenario is a function of checkpoint.py."""

from __future__ import annotations

import pytest
from launch import over_gloo

pytest.importorskip("torch.distributed.checkpoint")


def test_ranks_save_the_momentum_of_their_partitions_together():
    over_gloo(2, "optim/checkpoint", "resume")
