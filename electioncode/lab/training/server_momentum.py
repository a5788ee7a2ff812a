"""Momentum at the server, on the elected signs, as in the authors' published code."""

from __future__ import annotations

from typing import Any

import torch

from electioncode.core import words_for
from electioncode.optim import ParameterRun, Signum
from electioncode.votes import PackedSigns


class ServerMomentum(Signum):
    """Step by majority vote with momentum in the update, not in the votes::

        v <- momentum * v + (winner + weight_decay * p)
        p <- p - lr * v

    The paper has momentum at the workers (`electioncode.Signum`); its published CIFAR-10 code has it here. Steps are up
    to 1 / (1 - momentum) times as long. Takes the arguments of Signum, with an election.
    """

    def __init__(self, params: Any, lr: float, momentum: float, weight_decay: float, *, election: Any) -> None:
        super().__init__(params, lr, 0.0, weight_decay, election=election)
        self._server_momentum = momentum
        self._velocity: dict[torch.Tensor, torch.Tensor] = {}

    @torch.no_grad()
    def _update(self, runs: list[ParameterRun], winner: PackedSigns) -> None:
        signs = winner.unpack()
        if not isinstance(signs, torch.Tensor):
            signs = torch.from_numpy(signs)
        for group, run, words in runs:
            first = 64 * words.start
            for p in run:
                direction = signs[first : first + p.numel()].to(p).view(p.shape)
                first += 64 * words_for(p.numel())
                v = self._velocity.setdefault(p, torch.zeros_like(p))
                v.mul_(self._server_momentum).add_(direction + group["weight_decay"] * p)
                p.sub_(group["lr"] * v)
