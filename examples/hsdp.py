"""Sharded replicas that do not trust each other: exact sums inside a replica, the vote across.

    torchrun --nproc-per-node 6 examples/hsdp.py            # 3 replicas of 2 ranks; replica 0 lies

Look at the loss: it falls although one of the three replicas sends the opposite of its vote, and it is the same, to the
last bit, as in the run in which all are honest.
"""

import argparse

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import electioncode as ec
from electioncode import attacks
from electioncode.hooks import ReplicaVote

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=60)
arguments = parser.parse_args()
torch.set_num_threads(1)
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
shards = 2 if size % 2 == 0 else 1
mesh = init_device_mesh("cpu", (size // shards, shards), mesh_dim_names=("replica", "shard"))
replicas = mesh["replica"].get_group()

torch.manual_seed(0)
teacher = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4))


def train(byzantine: dict) -> list[float]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Sequential(nn.Linear(32, 256), nn.ReLU()), nn.Sequential(nn.Linear(256, 4)))
    for layer in model:
        fully_shard(layer, mesh=mesh["shard"])  # the 1-D mesh: FSDP sums only inside the replica
    fully_shard(model, mesh=mesh["shard"])
    # All replicas compute the same partition: (replicas - 1) // 2 of them may lie.
    vote = ReplicaVote(model, replicas, ec.repetition(size // shards, 1), byzantine=byzantine)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    losses = []
    for step in range(arguments.steps):
        # All replicas compute one partition; inside a replica, each rank takes its share of the samples.
        share = shards * vote.partitions[0] + mesh["shard"].get_local_rank()
        generator = torch.Generator().manual_seed(1000 * step + share)
        x = torch.randn(64, 32, generator=generator)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), teacher(x).argmax(dim=1))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


honest = train({})
attacked = train({0: attacks.reverse()})
if rank == 0:
    for step in range(0, arguments.steps, max(1, arguments.steps // 6)):
        print(f"step {step:3}: loss {honest[step]:.4f} where all are honest, {attacked[step]:.4f} where replica 0 lies")
    print("the same to the last bit" if honest == attacked else "different")
dist.destroy_process_group()
