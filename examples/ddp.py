"""DistributedDataParallel with one bit a coordinate, by one hook.

    torchrun --nproc-per-node 3 examples/ddp.py

Look at: the loss, the bytes that a rank sends against an all-reduce of float32, and that all ranks hold one model.
"""

import argparse
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from electioncode.hooks import MajorityVoteState, majority_vote_hook

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--checkpoint", help="write one here for each rank, and go on from it where there is one")
arguments = parser.parse_args()
torch.set_num_threads(1)
dist.init_process_group("gloo")  # "cpu:gloo,cuda:nccl" for models on GPUs
rank, size = dist.get_rank(), dist.get_world_size()

# The teacher is a random network; the student has to find what it says.
torch.manual_seed(0)
teacher = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4))
x = torch.randn(3000, 32)
data = TensorDataset(x, teacher(x).argmax(dim=1))
sampler = DistributedSampler(data)
loader = DataLoader(data, batch_size=50, sampler=sampler)

model = DDP(nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 4)))
state = MajorityVoteState(model, momentum=0.9, verify_every=10)
model.register_comm_hook(state, majority_vote_hook)
optimizer = torch.optim.SGD(model.parameters(), lr=3e-4)  # of votes, +1 and -1: a hundredth of the usual rate

first = 0
path = f"{arguments.checkpoint}.{rank}"  # momentum differs from rank to rank
if arguments.checkpoint and os.path.exists(path):
    saved = torch.load(path)
    model.module.load_state_dict(saved["model"])
    state.load_state_dict(saved["vote"])
    first = saved["epoch"]

for epoch in range(first, arguments.epochs):
    sampler.set_epoch(epoch)
    total = 0.0
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()  # buckets are packed, exchanged and counted meanwhile
        optimizer.step()
        total += loss.item()
    if rank == 0:
        print(f"epoch {epoch}: loss {total / len(loader):.3f}")

d = sum(p.numel() for p in model.parameters())
dense = 2 * (size - 1) / size * 4 * d
flat = torch.cat([p.detach().flatten() for p in model.parameters()])
everybodys = [torch.empty_like(flat) for _ in range(size)]
dist.all_gather(everybodys, flat)
if rank == 0:
    if state.bytes_sent:  # none at a single rank, or where the checkpoint had all epochs
        sent = state.bytes_sent / ((arguments.epochs - first) * len(loader))
        print(f"a rank sends {sent:,.0f} bytes a step; float32 all-reduce: {dense:,.0f}, {dense / sent:.1f} x as many")
    print("all ranks hold the same model:", all(torch.equal(flat, other) for other in everybodys))
if arguments.checkpoint:
    torch.save({"model": model.module.state_dict(), "vote": state.state_dict(), "epoch": arguments.epochs}, path)
dist.destroy_process_group()
