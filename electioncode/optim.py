"""Signum: steps by the sign of the momentum, alone or by the vote of an election."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

try:
    import torch
except ImportError as error:
    raise ImportError("electioncode.Signum needs PyTorch: pip install 'electioncode[torch]'") from error

from electioncode import _backend
from electioncode.signs import PackedSigns, words_for

if TYPE_CHECKING:
    from electioncode.election import Election


class Signum(torch.optim.Optimizer):
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
        params: parameters or parameter groups: dense, float16, bfloat16, float32 or float64, on the CPU.
        lr: step length, at least 0.
        momentum: in [0, 1); 0 is SignSGD.
        weight_decay: decoupled, at least 0.
        maximize: climbs instead of descending.
        election: an :class:`electioncode.Election`; every process must hold the same parameters in the same order.

    A NaN gradient raises ValueError unless the election's NaN policy says otherwise; the momentum has then taken the
    NaN, so go back to a checkpoint. Sources: Bernstein et al., "signSGD with majority vote is communication
    efficient and fault tolerant", ICLR 2019, Algorithm 1; Election Coding, Section 5 (momentum at the worker).
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        election: Election | None = None,
    ) -> None:
        for name, value in (("lr", lr), ("weight_decay", weight_decay)):
            if not value >= 0.0:
                raise ValueError(f"Signum: {name} must be at least 0, got {value}")
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"Signum: momentum must be at least 0 and below 1, got {momentum}")
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)
        self.election = election

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("election", None)
        for group in self.param_groups:
            group.setdefault("maximize", False)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "election": None}  # it holds a communicator

    @property
    def num_coordinates(self) -> int:
        """Coordinates of a vote: every parameter starts at a word boundary, so this is 64 times the words."""
        return 64 * sum(words_for(p.numel()) for p in self._params())

    @torch.no_grad()
    def cast(self, partition: int) -> None:
        """Votes for one partition with the gradients that its backward pass has just left in ``.grad``.

        Raises RuntimeError without an election, and ValueError for a partition that this process does not hold.
        """
        if self.election is None:
            raise RuntimeError("Signum.cast: there is no election; give Signum(..., election=...)")
        self.election.check_cast(partition)
        stream = {"seed": self.election.seed, "step": self.election.step, "stream": partition}
        votes = self._signs(self.election.zero, self.election.nan, stream, partition)
        self.election.cast(partition, votes)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update; with an election, of the winner of everything that was cast.

        Args:
            closure: evaluates the model and returns the loss; called first, with gradients enabled.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.election is None:
            winner = self._signs("abstain", "raise", {"seed": 0, "step": 0, "stream": 0}, None)
        else:
            winner = self.election.resolve(self.num_coordinates)
        self._update(winner)
        return loss

    def _params(self) -> Iterator[torch.Tensor]:
        for group in self.param_groups:
            yield from (p for p in group["params"] if p.requires_grad)

    def _signs(self, zero: str, nan: str, stream: dict[str, int], partition: int | None) -> PackedSigns:
        """Momentum and signs of all parameters, one native call a group."""
        words = np.zeros(self.num_coordinates // 64, dtype=np.uint64)
        absent = any(p.grad is None for p in self._params())
        mask = np.zeros_like(words) if absent or "abstain" in (zero, nan) else None
        first = 0
        for group in self.param_groups:
            for run in _runs(group["params"]):
                size = sum(words_for(p.numel()) for p in run)
                if run[0].grad is not None:
                    part = slice(first, first + size)
                    votes = words[part], None if mask is None else mask[part]
                    self._pack(run, group, votes, zero, nan, {**stream, "first": first}, partition)
                first += size
        return PackedSigns(words, 64 * words.size, mask)

    def _pack(
        self,
        params: list[torch.Tensor],
        group: dict[str, Any],
        votes: Any,
        zero: str,
        nan: str,
        stream: dict[str, int],
        partition: int | None,
    ) -> None:
        beta, sign = group["momentum"], -1.0 if group["maximize"] else 1.0
        grads = [_like(p.grad, p) for p in params]
        buffers = None
        if beta > 0:
            buffers = [_array(_flat(self._momentum(p, partition))) for p in params]
        has_nan = _backend.core.pack_tensors(
            [_array(g) for g in grads],
            buffers,
            beta,
            sign * (1 - beta),
            beta == 0 and group["maximize"],
            *votes,
            _backend.ZERO.index(zero),
            _backend.NAN.index(nan),
            *stream.values(),
        )
        if has_nan and nan == "raise":
            bad = [tuple(p.shape) for p, g in zip(params, grads, strict=True) if torch.isnan(g).any()]
            raise ValueError(f"Signum: NaN in the gradient (or momentum) of the parameters of shapes {bad}")

    def _momentum(self, p: torch.Tensor, partition: int | None) -> torch.Tensor:
        """The buffer of one parameter, or of one parameter and partition; zeros at first."""
        state: Any = self.state[p]
        key: Any = "momentum_buffer"
        if partition is not None:
            state, key = state.setdefault("momentum_buffers", {}), partition
        if key not in state:
            state[key] = torch.zeros_like(p, memory_format=torch.preserve_format)
        return state[key]

    def _update(self, winner: PackedSigns) -> None:
        words, mask = winner.numpy()
        first = 0
        for group in self.param_groups:
            decay, step = 1 - group["lr"] * group["weight_decay"], -group["lr"]
            for run in _runs(group["params"]):
                size = sum(words_for(p.numel()) for p in run)
                if self.election is not None or run[0].grad is not None:  # torch leaves what has no gradient alone
                    part = slice(first, first + size)
                    arrays = [_array(_flat(p)) for p in run]
                    _backend.core.update_tensors(arrays, words[part], None if mask is None else mask[part], decay, step)
                first += size


def _runs(params: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Neighbours that have a gradient, or have none: each run is one native call."""
    run: list[torch.Tensor] = []
    for p in params:
        if not p.requires_grad:
            continue
        if run and (p.grad is None) != (run[0].grad is None):
            yield run
            run = []
        run.append(p)
    if run:
        yield run


def _flat(t: torch.Tensor) -> torch.Tensor:
    """The elements in the order in which they lie in memory (channels-last and the like included): a view."""
    t = t.detach()
    if t.is_contiguous():
        return t.view(-1)
    strides = sorted((stride, size) for stride, size in zip(t.stride(), t.shape, strict=True) if size > 1)
    expected = 1
    for stride, size in strides:
        if stride != expected:
            raise ValueError(f"Signum: parameters must be dense, got strides {t.stride()} for shape {tuple(t.shape)}")
        expected *= size
    return t.as_strided((t.numel(),), (1,))


def _like(grad: torch.Tensor | None, p: torch.Tensor) -> torch.Tensor:
    """The gradient, flat, in the memory order and dtype of its parameter."""
    assert grad is not None
    if grad.is_sparse:
        raise ValueError("Signum: gradients must be dense, got a sparse one")
    if grad.stride() != p.stride() or grad.dtype != p.dtype:
        grad = torch.empty_like(p, memory_format=torch.preserve_format).copy_(grad)
    return _flat(grad)


def _array(t: torch.Tensor) -> np.ndarray:
    backend: Any = _backend.backend_of(t, "Signum", "params")
    return backend.floats(t, "Signum")
