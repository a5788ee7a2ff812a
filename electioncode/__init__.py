"""Sign voting for distributed training, packed one bit per coordinate, that stays right when some workers lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from electioncode import adversaries, attacks, bounds, data, frame, reference, transport
from electioncode._backend import (
    build_config,
    instruction_set,
    instruction_sets,
    num_threads,
    set_instruction_set,
    set_num_threads,
    synchronize,
)
from electioncode._version import __version__
from electioncode.codes import AllocationCode, bernoulli, cyclic, deterministic, repetition, uncoded
from electioncode.election import Election
from electioncode.failure import failure_rate
from electioncode.planning import plan
from electioncode.quorum import QuorumError
from electioncode.signs import PackedSigns, pack
from electioncode.tolerance import tolerance
from electioncode.voting import Tally, coded_majority, disagreement, local_majorities, majority

if TYPE_CHECKING:
    from electioncode.optim import Lion as Lion
    from electioncode.optim import Signum as Signum

__all__ = [
    "AllocationCode",
    "Election",
    "Lion",
    "PackedSigns",
    "QuorumError",
    "Signum",
    "Tally",
    "__version__",
    "adversaries",
    "attacks",
    "bernoulli",
    "bounds",
    "build_config",
    "coded_majority",
    "cyclic",
    "data",
    "deterministic",
    "disagreement",
    "failure_rate",
    "frame",
    "instruction_set",
    "instruction_sets",
    "local_majorities",
    "majority",
    "num_threads",
    "pack",
    "plan",
    "reference",
    "repetition",
    "set_instruction_set",
    "set_num_threads",
    "synchronize",
    "tolerance",
    "transport",
    "uncoded",
]


def __getattr__(name: str) -> Any:
    if name in ("Lion", "Signum"):  # the only names that need torch
        from electioncode import optim

        return getattr(optim, name)
    raise AttributeError(f"module 'electioncode' has no attribute {name!r}")
