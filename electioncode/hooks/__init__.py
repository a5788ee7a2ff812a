"""Vote inside PyTorch's own data-parallel loops: DistributedDataParallel and FSDP2. Needs PyTorch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from electioncode.hooks.ddp import MajorityVoteState, majority_vote_hook
    from electioncode.hooks.fsdp import PackedReduceScatter, ReplicaVote

_MODULES = {
    "MajorityVoteState": "ddp",
    "majority_vote_hook": "ddp",
    "PackedReduceScatter": "fsdp",  # which needs a newer PyTorch
    "ReplicaVote": "fsdp",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"electioncode.hooks.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'electioncode.hooks' has no attribute {name!r}")
