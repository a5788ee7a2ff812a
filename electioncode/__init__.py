"""Sign voting for distributed training, packed one bit per coordinate, that stays right when some workers lie."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from electioncode import data, schemes, transport
from electioncode.codes import AllocationCode, bernoulli, cyclic, deterministic, repetition, uncoded
from electioncode.core import (
    build_config,
    instruction_set,
    instruction_sets,
    num_threads,
    set_instruction_set,
    set_num_threads,
    synchronize,
)
from electioncode.election import Election, QuorumError
from electioncode.robustness import adversaries, attacks, bounds, failure_rate, plan, tolerance
from electioncode.schemes import Scheme
from electioncode.votes import (
    PackedSigns,
    Tally,
    coded_majority,
    disagreement,
    frame,
    local_majorities,
    majority,
    pack,
    reference,
)

__version__ = "0.1.0"

if TYPE_CHECKING:
    from electioncode.optim import Lion as Lion
    from electioncode.optim import Signum as Signum

__all__ = [
    "AllocationCode", "Election", "Lion", "PackedSigns", "QuorumError", "Scheme", "Signum", "Tally", "__version__",
    "adversaries", "attacks", "bernoulli", "bounds", "build_config", "coded_majority", "cyclic", "data",
    "deterministic", "disagreement", "failure_rate", "frame", "instruction_set", "instruction_sets",
    "local_majorities", "majority", "num_threads", "pack", "plan", "reference", "repetition", "schemes",
    "set_instruction_set", "set_num_threads", "synchronize", "tolerance", "transport", "uncoded",
]  # fmt: skip


def __getattr__(name: str) -> Any:  # what needs torch
    if name in ("Lion", "Signum"):
        from electioncode import optim

        return getattr(optim, name)
    if name in ("ddp", "fsdp"):
        return import_module(f"electioncode.hooks.{name}")
    raise AttributeError(f"module 'electioncode' has no attribute {name!r}")
