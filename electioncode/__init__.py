"""Sign voting for distributed training, packed one bit per coordinate, that stays right when some workers lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from electioncode._backend import (
    build_config,
    instruction_set,
    instruction_sets,
    num_threads,
    set_instruction_set,
    set_num_threads,
)
from electioncode._version import __version__
from electioncode.signs import PackedSigns, pack
from electioncode.voting import Tally, disagreement, local_majorities, majority

__all__ = [
    "PackedSigns",
    "Tally",
    "__version__",
    "build_config",
    "disagreement",
    "instruction_set",
    "instruction_sets",
    "local_majorities",
    "majority",
    "num_threads",
    "pack",
    "set_instruction_set",
    "set_num_threads",
]
