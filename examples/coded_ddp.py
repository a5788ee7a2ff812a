"""A rank of DDP lies and nothing changes: each partition of the data is held by several ranks, which vote.

    torchrun --nproc-per-node 9 examples/coded_ddp.py       # 3 partitions at 3 ranks each: one rank may lie

Look at the three hashes. With the code, the run with a liar ends with the parameters of the honest run, bit for bit;
without the code it does not. Each rank computes one partition, as in plain DDP.
"""

import argparse
import hashlib
import warnings

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, TensorDataset

import electioncode as ec
from electioncode import attacks
from electioncode.data import PartitionSampler
from electioncode.hooks import MajorityVoteState, majority_vote_hook

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=2)
arguments = parser.parse_args()
torch.set_num_threads(1)
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
if size % 3:
    raise SystemExit("start 3, 9 or 15 ranks")

torch.manual_seed(0)
teacher = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4))
x = torch.randn(1800, 32)
data = TensorDataset(x, teacher(x).argmax(dim=1))


def train(code: ec.AllocationCode, byzantine: dict) -> tuple[float, str]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, 4))
    model = DDP(net)
    state = MajorityVoteState(model, code, byzantine=byzantine, verify_every=1)
    model.register_comm_hook(state, majority_vote_hook)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    sampler = PartitionSampler(data, code)  # the same samples at all ranks that hold a partition
    loader = DataLoader(data, 50, sampler=sampler, generator=sampler.generator)
    for epoch in range(arguments.epochs):
        sampler.set_epoch(epoch)
        for inputs, targets in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
    accuracy = (model.module(x).argmax(dim=1) == data.tensors[1]).float().mean().item()
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    return accuracy, hashlib.sha256(flat.numpy().tobytes()).hexdigest()[:16]


code = ec.repetition(size, size // 3)
liar = {0: attacks.reverse()}
warnings.simplefilter("error", RuntimeWarning)  # a rank whose result differs would be named
results = {"coded, honest": train(code, {}), "coded, one liar": train(code, liar)}
results["no code, one liar"] = train(ec.uncoded(size), liar)
if rank == 0:
    print(f"the code tolerates {ec.tolerance(code).num_byzantine} of {size} ranks")
    for name, (accuracy, digest) in results.items():
        print(f"{name:18} accuracy {accuracy:.3f}  parameters {digest}")
dist.destroy_process_group()
