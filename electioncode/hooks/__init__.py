"""Vote inside PyTorch's own data-parallel loops: DistributedDataParallel and FSDP2. Needs PyTorch."""

from __future__ import annotations

from electioncode.hooks import ddp, fsdp
from electioncode.hooks.ddp import MajorityVoteState, majority_vote_hook
from electioncode.hooks.fsdp import PackedReduceScatter, ReplicaVote
