"""Cast signs, take the election's winner, and update: what the optimizers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from electioncode.core import tensors
from electioncode.election import Election
from electioncode.votes import PackedSigns, new_votes, outputs

_FLAGS = {"maximize": False, "foreach": None, "capturable": False, "differentiable": False, "fused": None}
_UNSUPPORTED = {
    "capturable": "lr and the vote are read by the host in every step, so no CUDA graph can hold it",
    "differentiable": "the derivative of a sign is zero",
}


class ParameterRun(NamedTuple):
    """What goes into one native call: a group, some of its parameters, and their words of a vote."""

    group: dict[str, Any]
    params: list[torch.Tensor]
    words: slice


class SignOptimizer(torch.optim.Optimizer):
    """Steps by the signs of a direction: its own, or those that an election's workers agree on.

    A subclass names its buffer and says what a vote is taken of (`_rule`). Momentum lives in
    ``state[p][buffer]``; with an election in ``state[p][buffer + "s"][partition]``: it belongs to the partition, not to
    the process, so that every holder of a partition has the same, before and after a checkpoint.
    """

    buffer = "momentum_buffer"

    def __init__(self, params: Any, defaults: dict[str, Any], election: Election | None, **flags: Any) -> None:
        super().__init__(params, {**defaults, **_FLAGS, **flags})
        if election is not None and election.policies is None:
            raise TypeError(f"{type(self).__name__}: election must be a sign vote, got another scheme")
        self.election = election

    def _check_group(self, group: dict[str, Any]) -> None:
        """Raise ValueError for options that make no sense."""
        who = type(self).__name__
        for name in ("lr", "weight_decay"):
            value = group[name]
            if isinstance(value, torch.Tensor) and value.numel() != 1:
                raise ValueError(f"{who}: {name} must be one number, got a tensor of shape {tuple(value.shape)}")
            if not value >= 0.0:
                raise ValueError(f"{who}: {name} must be at least 0, got {value}")
        for name, reason in _UNSUPPORTED.items():
            if group[name]:
                raise ValueError(f"{who}: {name}=True is not supported: {reason}")
        if group["fused"] is False:
            raise ValueError(f"{who}: fused=False is not supported: momentum and sign are always one pass")
        if group["fused"] and group["foreach"] is False:
            raise ValueError(f"{who}: fused=True and foreach=False exclude each other")

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, at any time; with an election, at all processes at the same time."""
        if isinstance(param_group, dict):
            self._check_group({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("election", None)
        for group in self.param_groups:
            for name, value in _FLAGS.items():
                group.setdefault(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "election": None}  # it holds a communicator

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """With an election GradScaler must not skip the steps of some processes: it leaves them to `step`."""
        return self.election is not None

    @torch.no_grad()
    def cast(self, partition: int) -> None:
        """Vote for one partition with the gradients that its backward pass has just left in ``.grad``.

        Raises RuntimeError without an election, and ValueError for a partition that this process does not hold.
        """
        if self.election is None:
            who = type(self).__name__
            raise RuntimeError(f"{who}.cast: there is no election; give {who}(..., election=...)")
        if torch.compiler.is_dynamo_compiling():  # no graph holds an election: break it here
            torch.compiler.disable(self._cast)(self.election, partition)
        else:
            self._cast(self.election, partition)

    def _cast(self, election: Election, partition: int) -> None:
        election.check_cast(partition)
        policies = election.policies
        assert policies is not None
        stream = (policies.seed, election.step % 2**32, partition)
        votes = self._signs(list(self._runs()), policies.zero, policies.nan, stream, partition)
        election.cast(partition, votes)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update the parameters once; with an election, by the winner of everything that was cast.

        Args:
            closure: evaluates the model and returns the loss; called first, with gradients enabled.

        What the election raises (QuorumError, say) comes through, and the parameters are then as they were.
        """
        self._refuse_grad_scaler()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if not torch.compiler.is_dynamo_compiling():
            self._step()
        elif self.election is None:
            self._traced_step()
        else:
            torch.compiler.disable(self._step)()
        return loss

    def _step(self) -> None:
        runs = list(self._runs())
        if self.election is None:
            winner = self._signs(runs, "abstain", "raise", (0, 0, 0), None)
        else:
            winner = self.election.resolve(64 * runs[-1][2].stop if runs else 0)
        self._update(runs, winner)

    @torch.no_grad()
    def init_state(self) -> None:
        """Make the buffers that the first step would make, zeros, where they are missing.

        Checkpoints that are read into the tensors of a state_dict need it, as torch.distributed.checkpoint does.
        """
        partitions = [None] if self.election is None else self.election.partitions
        for group in self.param_groups:
            if self._needs_buffer(group):
                for p in group["params"]:
                    for partition in partitions if p.requires_grad else ():
                        self._buffer(p, partition)

    def _needs_buffer(self, group: dict[str, Any]) -> bool:
        return True

    def _rule(self, group: dict[str, Any]) -> tensors.MomentumRule:
        """Return what the signs of a group are taken of."""
        raise NotImplementedError

    def _runs(self) -> Iterator[ParameterRun]:
        """Yield all parameters, with their words of a vote."""
        first = 0
        for group in self.param_groups:
            for run in _neighbours(group["params"], 1 if group["foreach"] is False else None):
                end = first + tensors.num_words(run)
                yield ParameterRun(group, run, slice(first, end))
                first = end

    def _signs(
        self, runs: list[ParameterRun], zero: str, nan: str, stream: tuple[int, int, int], partition: int | None
    ) -> PackedSigns:
        """Pack the signs of all parameters, and step their momenta, in one native call per run."""
        who = type(self).__name__
        all_have_one = all(run[0].grad is not None for _, run, _ in runs)
        d = 64 * runs[-1][2].stop if runs else 0
        backend = tensors.backend_of_all([p for _, run, _ in runs for p in run], who)  # before any takes its step
        votes = new_votes(backend, (), d, not all_have_one or "abstain" in (zero, nan), None, who)
        words, mask = outputs(votes, who)
        for group, run, part in runs:
            if run[0].grad is None:
                words[part] = 0
                mask[part] = 0
                continue
            grads = [_gradient(p, who) for p in run]
            grads = [g.resolve_neg() if g.is_neg() else g for g in grads]  # in memory they have the other sign
            buffers = [self._buffer(p, partition) for p in run] if self._needs_buffer(group) else None
            planes, where = (words[part], None if mask is None else mask[part]), (*stream, part.start)
            rule, random = self._rule(group), tensors.RandomStream(*where)
            if tensors.pack_tensors(who, grads, buffers, rule, planes, (zero, nan), random) and nan == "raise":
                bad = [tuple(p.shape) for p, g in zip(run, grads, strict=True) if torch.isnan(g).any()]
                raise ValueError(f"{who}: NaN in the gradient (or momentum) of the parameters of shapes {bad}")
        return votes

    def _buffer(self, p: torch.Tensor, partition: int | None) -> torch.Tensor:
        """Return the buffer of one parameter, or of one parameter and partition; zeros at first."""
        state: Any = self.state[p]
        key: Any = self.buffer
        if partition is not None:
            state, key = state.setdefault(self.buffer + "s", {}), partition
        buffer = state.get(key)
        if buffer is None:
            state[key] = buffer = torch.zeros_like(p, memory_format=torch.preserve_format)
        elif not (buffer.is_contiguous() and p.is_contiguous()) and buffer.stride() != p.stride():
            if buffer.shape != p.shape:
                who = type(self).__name__
                raise ValueError(f"{who}: momentum must be of shape {tuple(p.shape)}, got {tuple(buffer.shape)}")
            state[key] = buffer = torch.empty_like(p, dtype=buffer.dtype).copy_(buffer)  # of another memory format
        return buffer

    def _update(self, runs: list[ParameterRun], winner: PackedSigns) -> None:
        who = type(self).__name__
        backend = tensors.backend_of_all([p for _, run, _ in runs for p in run], who)
        words, mask = winner.like(backend).arrays()
        rates = {id(group): (float(group["lr"]), float(group["weight_decay"])) for group in self.param_groups}
        for group, run, part in runs:
            if self.election is not None or run[0].grad is not None:  # torch leaves what has no gradient alone
                votes = words[part], None if mask is None else mask[part]
                tensors.update_tensors(who, run, votes, *rates[id(group)])

    def _traced_step(self) -> None:
        """Step by operators in place of native calls, where torch.compile writes the graph."""
        from electioncode.core import traced

        who = type(self).__name__
        for group, run, _ in self._runs():
            if run[0].grad is None:
                continue
            rule, lr = self._rule(group), group["lr"]
            split = [] if rule.split is None else [*rule.split]
            lr = lr if isinstance(lr, torch.Tensor) else torch.tensor(lr, dtype=torch.float64)
            grads = [_gradient(p, who) for p in run]
            buffers = [self._buffer(p, None) for p in run] if self._needs_buffer(group) else []
            planes = traced.ops.pack_tensors(
                grads, buffers, rule.beta, rule.weight, rule.negate, True, "abstain", "raise", 0, 0, 0, split
            )
            traced.ops.update_tensors(run, planes[0], planes[1], lr, group["weight_decay"])

    def _refuse_grad_scaler(self) -> None:
        """Raise where a GradScaler is in use: it sets an attribute where `_step_supports_amp_scaling`."""
        if self.__dict__.pop("grad_scale", None) is not None:
            self.__dict__.pop("found_inf", None)
            raise RuntimeError(
                f"{type(self).__name__}.step: GradScaler does not go with an election: it would skip the step of the "
                "process that found an infinity, and the others wait for its vote; train in bfloat16, or cast "
                "unscaled gradients and call step() yourself"
            )


def _neighbours(params: Sequence[torch.Tensor], longest: int | None = None) -> Iterator[list[torch.Tensor]]:
    """Yield neighbours that all have a gradient, or all have none: each run is one native call."""
    run: list[torch.Tensor] = []
    for p in params:
        if not p.requires_grad:
            continue
        if run and ((p.grad is None) != (run[0].grad is None) or len(run) == longest):
            yield run
            run = []
        run.append(p)
    if run:
        yield run


def _gradient(p: torch.Tensor, who: str) -> torch.Tensor:
    """Return the gradient of a parameter, in its memory order and dtype."""
    grad = p.grad
    assert grad is not None
    if grad.is_sparse:
        raise ValueError(f"{who}: gradients must be dense, got a sparse one")
    p, grad = tensors.local_shard(p), tensors.local_shard(grad)
    alike = grad.is_contiguous() and p.is_contiguous()
    if not (alike or grad.stride() == p.stride()) or grad.dtype != p.dtype:
        grad = torch.empty_like(p, memory_format=torch.preserve_format).copy_(grad)
    return grad
