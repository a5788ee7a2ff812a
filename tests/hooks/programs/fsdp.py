"""FSDP2: the vote across sharded replicas, and the packed reduce-scatter, against votes made by hand."""

from __future__ import annotations

import torch
import torch._dynamo  # every optimizer needs it: once, before the ranks are forked
import torch.distributed as dist
from checks import emulated, raised  # noqa: F401 (a scenario)
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import electioncode as ec
from electioncode import attacks
from electioncode.hooks import PackedReduceScatter, ReplicaVote

SHARDS = 2
MOMENTUM = 0.9


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(10, 33), nn.Tanh()), nn.Sequential(nn.Linear(33, 17), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(17, 5))


def loss(model: nn.Module, step: int, samples: int) -> torch.Tensor:
    x = torch.randn(6, 10, generator=torch.Generator().manual_seed(100 * step + samples))
    return model(x).square().sum()


def sharded(mesh) -> nn.Module:
    model = network()
    for layer in model:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def gradients(twin: nn.Module, step: int, samples: int) -> list[torch.Tensor]:
    twin.zero_grad()
    loss(twin, step, samples).backward()
    return [p.grad.clone() for p in twin.parameters()]


def parameters(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().full_tensor().flatten() for p in model.parameters()])


def hsdp() -> None:
    """Gradients are the majority of the signs of the momenta of the replicas' exact sums."""
    replicas = dist.get_world_size() // SHARDS
    mesh = init_device_mesh("cpu", (replicas, SHARDS), mesh_dim_names=("replica", "shard"))
    replica, shard = divmod(dist.get_rank(), SHARDS)
    model, twin = sharded(mesh["shard"]), network()
    vote = ReplicaVote(model, mesh["replica"].get_group(), momentum=MOMENTUM)
    assert (vote.replica, vote.partitions) == (replica, (replica,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    momenta = [[torch.zeros_like(p) for p in twin.parameters()] for _ in range(replicas)]
    for step in range(3):
        if step == 2:  # a checkpoint on the way
            saved = vote.state_dict()
            vote.momentum_buffers, vote.steps = {}, dict.fromkeys(vote.steps, 0)
            vote.load_state_dict(saved)
        optimizer.zero_grad()
        loss(model, step, SHARDS * replica + shard).backward()
        votes = [torch.zeros_like(p) for p in twin.parameters()]
        for r, buffers in enumerate(momenta):
            parts = [gradients(twin, step, SHARDS * r + s) for s in range(SHARDS)]
            for v, total, *grads in zip(buffers, votes, *parts, strict=True):
                v.copy_(v * MOMENTUM + sum(grads) * (1 - MOMENTUM))
                total += torch.where(v >= 0, 1, -1)
        for p, total in zip(model.parameters(), votes, strict=True):
            assert torch.equal(p.grad.full_tensor(), torch.where(total >= 0, 1.0, -1.0)), step
        optimizer.step()
        with torch.no_grad():
            for q, total in zip(twin.parameters(), votes, strict=True):
                q -= 0.01 * torch.where(total >= 0, 1.0, -1.0)
        mine = parameters(model)
        everybodys = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(everybodys, mine)
        assert all(torch.equal(mine, theirs) for theirs in everybodys)


def liars() -> None:
    """A lying replica changes nothing where the code tolerates it, and something where there is none."""
    replicas = dist.get_world_size() // SHARDS
    mesh = init_device_mesh("cpu", (replicas, SHARDS), mesh_dim_names=("replica", "shard"))
    ends = {}
    for name, code in (("coded", ec.repetition(replicas, 1)), ("uncoded", ec.uncoded(replicas))):
        for attack in (None, attacks.reverse(), attacks.random(seed=1)):
            model = sharded(mesh["shard"])
            byzantine = {} if attack is None else {0: attack}
            vote = ReplicaVote(model, mesh["replica"].get_group(), code, byzantine=byzantine)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            for step in range(3):
                optimizer.zero_grad()
                loss(model, step, SHARDS * vote.partitions[0] + dist.get_rank() % SHARDS).backward()
                optimizer.step()
            ends.setdefault(name, []).append(parameters(model))
    assert all(torch.equal(end, ends["coded"][0]) for end in ends["coded"])
    assert not torch.equal(ends["uncoded"][0], ends["uncoded"][1])


def packed() -> None:
    """Reduce-scatter as a vote: shards are the majority of all ranks' signs, at a 64th of the bytes and words' ends."""
    n, rank = dist.get_world_size(), dist.get_rank()
    mesh = init_device_mesh("cpu", (n,))
    model, twin = sharded(mesh), network()
    scatter = PackedReduceScatter(trusted_workers=True)
    scatter.apply(model)
    for step in range(2):
        model.zero_grad()
        loss(model, step, rank).backward()
        everybodys = [gradients(twin, step, r) for r in range(n)]
        for p, *grads in zip(model.parameters(), *everybodys, strict=True):
            total = sum(torch.where(g >= 0, 1, -1) for g in grads)
            assert torch.equal(p.grad.full_tensor(), torch.where(total >= 0, 1.0, -1.0)), step
    rows = [sum(-(-p.shape[0] // n) * p[0].numel() for p in layer.parameters()) for layer in twin]
    assert scatter.calls == 6
    assert scatter.bytes_sent == 2 * (n - 1) * sum(8 * -(-d // 64) for d in rows)


def misuse() -> None:
    n = dist.get_world_size()
    mesh = init_device_mesh("cpu", (n,))
    two = init_device_mesh("cpu", (n // SHARDS, SHARDS), mesh_dim_names=("replica", "shard"))
    group = mesh.get_group()
    raised(lambda: ReplicaVote(network(), group), ValueError, "must have FSDP modules")
    model = sharded(mesh)
    raised(lambda: ReplicaVote(model, group, momentum=1.0), ValueError, "momentum must be")
    raised(lambda: ReplicaVote(model, group, ec.uncoded(n + 1)), ValueError, f"each of the {n} ranks, got {n + 1}")
    raised(lambda: ReplicaVote(model, group, ec.cyclic(n, 2)), ValueError, "one partition at most")
    raised(lambda: ReplicaVote(sharded(two), group), ValueError, "must be sharded over a 1-D mesh")
    raised(PackedReduceScatter, ValueError, "needs trusted_workers=True")
    raised(lambda: PackedReduceScatter(trusted_workers=True, tie="abstain"), ValueError, "tie must be one of")
    unforced = PackedReduceScatter(trusted_workers=True)
    x = torch.zeros(n)
    raised(lambda: unforced(x[:1], x, group, dist.ReduceOp.AVG), ValueError, "op must be SUM")
