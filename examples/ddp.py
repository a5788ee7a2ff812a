"""DistributedDataParallel with one bit per coordinate, through one hook.

    torchrun --nproc-per-node 3 examples/ddp.py

Look at the loss, at the bytes that a rank sends compared with an all-reduce of float32, and at the last line: all ranks
hold the same model.
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
parser.add_argument("--checkpoint", help="write one file per rank here, and resume from it if it exists")
arguments = parser.parse_args()
torch.set_num_threads(1)
dist.init_process_group("gloo")  # "cpu:gloo,cuda:nccl" for models on GPUs
rank, size = dist.get_rank(), dist.get_world_size()

# The teacher is a random network; the student learns its answers.
torch.manual_seed(0)
teacher = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4))
x = torch.randn(3000, 32)
data = TensorDataset(x, teacher(x).argmax(dim=1))
sampler = DistributedSampler(data)
loader = DataLoader(data, batch_size=50, sampler=sampler)

model = DDP(nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 4)))
state = MajorityVoteState(model, momentum=0.9, verify_every=10)
model.register_comm_hook(state, majority_vote_hook)
optimizer = torch.optim.SGD(model.parameters(), lr=3e-4)  # gradients are votes, +1 and -1: use a small rate

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
        loss.backward()  # meanwhile buckets are packed, exchanged and counted
        optimizer.step()
        total += loss.item()
    if rank == 0:
        print(f"epoch {epoch}: loss {total / len(loader):.3f}")

d = sum(p.numel() for p in model.parameters())
dense = 2 * (size - 1) / size * 4 * d
flat = torch.cat([p.detach().flatten() for p in model.parameters()])
models = [torch.empty_like(flat) for _ in range(size)]
dist.all_gather(models, flat)
if rank == 0:
    if state.bytes_sent:  # 0 with a single rank, or if the checkpoint held all epochs
        sent = state.bytes_sent / ((arguments.epochs - first) * len(loader))
        print(f"bytes per rank and step: {sent:,.0f}; float32 all-reduce: {dense:,.0f}, {dense / sent:.1f} x as many")
    print("all ranks hold the same model:", all(torch.equal(flat, other) for other in models))
if arguments.checkpoint:
    torch.save({"model": model.module.state_dict(), "vote": state.state_dict(), "epoch": arguments.epochs}, path)
dist.destroy_process_group()
