"""Step by the sign of an interpolation between momentum and gradient."""

from __future__ import annotations

from typing import Any

import torch

from electioncode import core
from electioncode.core import tensors
from electioncode.election import Election
from electioncode.optim.base import SignOptimizer


class Lion(SignOptimizer):
    """Lion; with an election, Distributed Lion with majority vote over coded workers.

    Per parameter, in this order, every product and sum rounded to the parameter's dtype (no fused multiply-add)::

        c <- beta1 * m + (1 - beta1) * grad              # m per partition where there is an election
        s <- sign(c), or the election's winner
        m <- beta2 * m + (1 - beta2) * grad
        p <- (1 - lr * weight_decay) * p
        p <- p - lr * s

    That is ``c = m * beta1 + grad * (1 - beta1)``, ``m = m * beta2 + grad * (1 - beta2)``,
    ``p.mul_(1 - lr * weight_decay)``, ``p.sub_(s * lr)`` in torch, bit for bit on every CPU; c never reaches memory.

    Elections, zeros, NaN and the training step are those of :class:`electioncode.Signum`.

    Args:
        params: as in Signum.
        lr: step length, at least 0; about a third to a tenth of AdamW's.
        betas: (beta1, beta2), each in [0, 1): of the direction, and of the momentum that is kept.
        weight_decay: decoupled, at least 0; about three to ten times AdamW's.
        maximize, foreach, capturable, differentiable, fused, election: as in Signum.

    Sources: Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023, Algorithm 2; Liu et al.,
    "Communication efficient distributed training with Distributed Lion", NeurIPS 2024 (its majority vote).
    """

    buffer = "exp_avg"

    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        election: Election | None = None,
    ) -> None:
        flags = {"maximize": maximize, "foreach": foreach, "capturable": capturable}
        flags.update(differentiable=differentiable, fused=fused)
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay}, election, **flags)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        if len(group["betas"]) != 2:
            raise ValueError(f"Lion: betas must be two numbers, got {group['betas']!r}")
        for i, beta in enumerate(group["betas"]):
            core.number("Lion", f"betas[{i}]", beta, 0, 1, "[)")

    def _rule(self, group: dict[str, Any]) -> tensors.MomentumRule:
        (beta1, beta2), sign = group["betas"], -1.0 if group["maximize"] else 1.0
        return tensors.MomentumRule(beta1, sign * (1 - beta1), split=(beta2, sign * (1 - beta2)))
