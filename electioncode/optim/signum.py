"""Step by the sign of the momentum."""

from __future__ import annotations

from typing import Any

import torch

from electioncode import core
from electioncode.core import tensors
from electioncode.election import Election
from electioncode.optim.base import SignOptimizer


class Signum(SignOptimizer):
    """SignSGD with momentum; with an election, SignSGD with majority vote over coded workers.

    Per parameter, in this order, every product and sum rounded to the parameter's dtype (no fused multiply-add)::

        v <- momentum * v + (1 - momentum) * grad        # per partition where there is an election
        s <- sign(v), or the election's winner
        p <- (1 - lr * weight_decay) * p
        p <- p - lr * s

    That is ``v = v * momentum + grad * (1 - momentum)``, ``p.mul_(1 - lr * weight_decay)``, ``p.sub_(s * lr)`` in
    torch, bit for bit on every CPU. (torch's shorter ``v.mul_(momentum).add_(grad, alpha=1 - momentum)`` cannot be
    the rule: it gives other bits on CPUs with and without fused multiply-add, and in 16 bits also at the end of a
    tensor and in its foreach form.)

    Without an election sign(0) = 0, as in ``torch.sign``. With one, the election's zero, NaN and tie policies hold;
    a parameter without a gradient abstains, and where nobody votes the tie policy decides, so use tie="abstain" if
    parameters may go unused. In one training step::

        for partition in election.partitions:            # the partitions that this process computes
            optimizer.zero_grad()
            loss(partition).backward()
            optimizer.cast(partition)
        optimizer.step()                                 # local majority -> exchange -> majority -> update

    Args:
        params: parameters or parameter groups: dense, float16, bfloat16, float32 or float64, all on the CPU or
            on one CUDA device; of a DTensor, the shard that this process holds.
        lr: step length, at least 0; a number, or a tensor of one element.
        momentum: in [0, 1); 0 is SignSGD.
        weight_decay: decoupled, at least 0.
        maximize: ascend instead of descending.
        foreach: None or True: one native call per group. False: one call per tensor, with the same bits.
        capturable, differentiable: not supported; True raises ValueError.
        fused: None or True: one pass over gradient, momentum and signs, as always. False raises ValueError.
        election: an :class:`electioncode.Election`; every process must hold the same parameters in the same order.

    All but `params` and `election` may differ between groups, and change between steps: learning rate schedulers,
    hooks, ``add_param_group`` and ``state_dict`` work as with any torch optimizer. torch.amp.GradScaler works
    without an election and is refused with one. ``docs/checkpoints.md`` says how to resume bit for bit.

    ``torch.compile(optimizer.step, fullgraph=True)`` gives one graph, with the same bits; compile before a scheduler is
    made, and give it lr as a tensor, since a number is a constant of the graph. With an election, step and cast run
    between graphs.

    A NaN gradient raises ValueError unless the election's NaN policy says otherwise; the momentum has then taken the
    NaN, so go back to a checkpoint. (On a CUDA device a later call raises it: see :func:`electioncode.synchronize`.)

    Sources: Bernstein et al., "signSGD with majority vote is communication efficient and fault tolerant", ICLR 2019,
    Algorithm 1; Election Coding, Section 5 (momentum at the worker).
    """

    buffer = "momentum_buffer"

    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 1e-3,
        momentum: float = 0.9,
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
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}, election, **flags)

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        core.number("Signum", "momentum", group["momentum"], 0, 1, "[)")

    def _needs_buffer(self, group: dict[str, Any]) -> bool:
        return group["momentum"] > 0

    def _rule(self, group: dict[str, Any]) -> tensors.MomentumRule:
        beta, maximize = group["momentum"], group["maximize"]
        return tensors.MomentumRule(beta, -(1 - beta) if maximize else 1 - beta, negate=maximize and beta == 0)
