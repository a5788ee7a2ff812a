"""Step by signs, alone or by the vote of an election: Signum and Lion. Needs PyTorch."""

from __future__ import annotations

try:
    import torch as _torch
except ImportError as error:
    raise ImportError("electioncode's optimizers need PyTorch: pip install 'electioncode[torch]'") from error

from electioncode.optim.base import ParameterRun
from electioncode.optim.lion import Lion
from electioncode.optim.signum import Signum
