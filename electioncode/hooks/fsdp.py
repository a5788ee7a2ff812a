"""Vote in FSDP2: across replicas, each sharded by a trusted group (HSDP), or inside one trusted group.

A rank of a sharded group owns some of the parameters and can write anything into them, so a vote protects nobody inside
the group. The unit of trust is the replica: exact sums inside, the vote across::

    mesh = init_device_mesh("cpu", (replicas, shards), mesh_dim_names=("replica", "shard"))
    for layer in model.layers:
        fully_shard(layer, mesh=mesh["shard"])          # the shard mesh alone: FSDP then reduces inside the replica
    fully_shard(model, mesh=mesh["shard"])
    vote = ReplicaVote(model, mesh["replica"].get_group())
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

try:
    import torch
    import torch.distributed as dist
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.fsdp._fully_shard._fsdp_api import ReduceScatter
except ImportError as error:
    raise ImportError(
        "ReplicaVote needs a PyTorch whose FSDP2 takes custom communication (2.13 does): "
        f"pip install --upgrade 'electioncode[torch]' [{error}]"
    ) from error

from electioncode import core
from electioncode.codes import AllocationCode
from electioncode.hooks.exchange import exchange, to_words
from electioncode.hooks.layout import Layout, ParameterSlot
from electioncode.hooks.voter import BucketRound, BucketVote, code_of
from electioncode.hooks.voters import voter_of
from electioncode.votes import PackedSigns, Policies


class ReplicaVote:
    """Puts the majority vote of replicas in place of their all-reduce.

    Args:
        model: on which fully_shard was called with the 1-D mesh of shards.
        group: of the ranks that hold the same shard, one in each replica: ``mesh["replica"].get_group()``.
        code: AllocationCode whose workers are the replicas, one partition each at most; None: ``uncoded``. With
            ``repetition(replicas, k)`` all ranks of a replica take the samples of its partition.
        momentum: in [0, 1), of the replica's summed gradient, in its dtype; 0 is SignSGD.
        tie, zero, nan, seed: as in :class:`electioncode.Election`.
        byzantine: replica -> attack, to try out what it can do, as in :class:`electioncode.Election`.

    After backward each gradient shard is +1 or -1 (0 where tie is "abstain"), the majority of the replicas' signs. Sets
    on every FSDP module of the model: the all-reduce hook, plain sums inside the replica, and no division. A module
    whose whole shard of the gradient is zero abstains at that rank. All replicas must use the same parameters in every
    step.

    Raises ValueError where code and group do not fit, or the model has no FSDP modules or is sharded over two meshes.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        group: Any,
        code: AllocationCode | None = None,
        *,
        momentum: float = 0.9,
        tie: str = "plus",
        zero: str = "plus",
        nan: str = "raise",
        seed: int = 0,
        byzantine: Mapping[int, Callable[..., PackedSigns]] | None = None,
    ) -> None:
        self._momentum = core.number("ReplicaVote", "momentum", momentum, 0, 1, "[)")
        policies = Policies.checked("ReplicaVote", tie, zero, nan, seed)
        self.code = code_of(group, code, "ReplicaVote")
        n = self.code.num_workers
        if max(len(self.code.partitions(i)) for i in range(n)) > 1:
            raise ValueError("ReplicaVote: code must give each replica one partition at most; use a repetition code")
        self.group = group
        self.replica = dist.get_rank(group)
        self.partitions: tuple[int, ...] = self.code.partitions(self.replica)
        self.byzantine = dict(byzantine or {})
        self.bytes_sent = 0
        self.steps: dict[str, int] = {}
        self.momentum_buffers: dict[int, dict[str, torch.Tensor]] = {}
        self._bucket_vote = BucketVote(n, policies, policies.casts_abstain)
        self._layouts: dict[str, Layout] = {}
        modules = _fsdp_modules(model, "ReplicaVote")
        for index, (name, module) in enumerate(modules.items()):
            self.steps[name] = 0
            _sum_plainly(module)
            module.set_all_reduce_hook(partial(self._vote, index, name))

    @torch.no_grad()
    def _vote(self, index: int, name: str, shard: torch.Tensor) -> None:
        if shard.is_cuda:  # FSDP made it on another stream, and may give it back before this one has used it
            shard.record_stream(torch.cuda.current_stream(shard.device))
        flat = shard.view(-1)
        step = self.steps[name]
        slot = ParameterSlot(index, name, flat, 0)
        layout = self._layouts.get(name)
        if layout is None:  # which holds no gradient
            empty = ParameterSlot(index, name, torch.empty_like(flat, device="meta"), 0)
            layout = self._layouts[name] = Layout([empty], 0)
        if layout.parts[0].stop != flat.numel():
            raise RuntimeError(
                f"ReplicaVote: the gradient of module {name!r} has {flat.numel()} elements here, and had "
                f"{layout.parts[0].stop}: all steps must use the same parameters"
            )
        own = self.replica, self.partitions, self.momentum_buffers
        voter = voter_of([slot], self._bucket_vote, *own, self._momentum, 0, self.byzantine)
        round_ = BucketRound(voter, layout, flat, step)
        work = round_.exchange(round_.message(), self.group)
        self.bytes_sent += round_.bytes_sent
        work.wait()
        round_.count()
        self.steps[name] = step + 1

    def state_dict(self) -> dict[str, Any]:
        """Return steps and momentum of this rank's shard: save one replica of each partition, at each of its ranks."""
        return {
            "steps": dict(self.steps),
            "momentum_buffers": {j: dict(buffers) for j, buffers in self.momentum_buffers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state_dict; raise ValueError where modules or partitions are not those of the checkpoint."""
        if state["steps"].keys() != self.steps.keys():
            raise ValueError(f"load_state_dict: modules must be {list(state['steps'])}, got {list(self.steps)}")
        if not set(state["momentum_buffers"]) <= set(self.partitions):
            raise ValueError(
                f"load_state_dict: momentum must be of this replica's partitions, {self.partitions}, got "
                f"{sorted(state['momentum_buffers'])}"
            )
        self.steps = dict(state["steps"])
        self.momentum_buffers = {
            j: {name: b.clone() for name, b in buffers.items()} for j, buffers in state["momentum_buffers"].items()
        }


class PackedReduceScatter(ReduceScatter):
    """Makes FSDP2's reduce-scatter a sign vote, for ranks that trust each other: (n - 1) / n of d / 8 bytes per rank.

    ::

        PackedReduceScatter(trusted_workers=True).apply(model)

    Each rank packs its gradient, sends every other rank the bits of the shard that this one owns, and counts its own.
    Shards of the gradient are +1 or -1: the majority of the ranks' signs. Momentum is left to the optimizer.

    Args:
        trusted_workers: must be True: each rank decides alone over its shard.
        tie, zero: "plus", "minus" or "random"; seed: of their random bits.
        nan: "raise" or "minus".
    """

    def __init__(
        self, *, trusted_workers: bool = False, tie: str = "plus", zero: str = "plus", nan: str = "raise", seed: int = 0
    ) -> None:
        if not trusted_workers:
            raise ValueError(
                "PackedReduceScatter: each rank has all power over its shard, so it needs trusted_workers=True; use "
                "ReplicaVote across replicas that do not trust each other"
            )
        for name, value, choices in (("tie", tie, core.TIE), ("zero", zero, core.ZERO), ("nan", nan, core.NAN)):
            core.choice("PackedReduceScatter", name, value, choices[:-1])  # a shard has no mask, so nothing abstains
        self.policies = Policies.checked("PackedReduceScatter", tie, zero, nan, seed)
        self.calls = 0
        self.bytes_sent = 0

    def apply(self, model: torch.nn.Module) -> None:
        """Make every FSDP module of the model use it."""
        for module in _fsdp_modules(model, "PackedReduceScatter").values():
            _sum_plainly(module)
            module.set_custom_reduce_scatter(self)

    def allocate(self, size: Any, *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        return torch.empty(*size, dtype=dtype, device=device)

    @torch.no_grad()
    def __call__(
        self,
        output_tensor: torch.Tensor,
        input_tensor: torch.Tensor,
        group: dist.ProcessGroup,
        op: Any,
        async_op: bool = False,
    ) -> None:
        if op != dist.ReduceOp.SUM or async_op:
            raise ValueError(
                "PackedReduceScatter: op must be SUM and async_op False; PackedReduceScatter.apply(model) sees to it"
            )
        n, rank = dist.get_world_size(group), dist.get_rank(group)
        step = self.calls
        self.calls += 1
        why = core.cuda_unavailable() if input_tensor.is_cuda else None
        if why:
            warnings.warn(f"PackedReduceScatter: gradients are copied to the CPU to vote: {why}", stacklevel=2)
            input_tensor = input_tensor.cpu()
        rows = self.policies.pack(input_tensor.view(n, -1), step=step, stream=n * rank)
        inbox, work = exchange(rows.words, group, one_for_each=True)
        self.bytes_sent += inbox[1:].numel()
        work.wait()
        votes = PackedSigns(to_words(inbox, rows.words.device), rows.d)
        winner = self.policies.majority(votes, step=step, stream=rank)
        if why:
            output_tensor.copy_(winner.unpack(output_tensor.dtype))
        else:
            winner.unpack(out=output_tensor)


def _fsdp_modules(model: torch.nn.Module, who: str) -> dict[str, FSDPModule]:
    modules = {name: module for name, module in model.named_modules() if isinstance(module, FSDPModule)}
    if not modules:
        raise ValueError(f"{who}: model must have FSDP modules; call torch.distributed.fsdp.fully_shard on it first")
    for name, module in modules.items():
        for group in module._get_fsdp_state()._fsdp_param_groups:
            if group.mesh_info.mesh.ndim != 1:
                raise ValueError(f"{who}: module {name!r} must be sharded over a 1-D mesh, mesh['shard'] of HSDP")
    return modules


def _sum_plainly(module: FSDPModule) -> None:
    """Let the module neither average nor divide afterwards: what comes out is a sum of gradients, or votes."""
    module.set_gradient_divide_factor(1.0)
    module.set_force_sum_reduction_for_comms(True)
