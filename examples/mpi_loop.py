"""A plain training loop over MPI: a server and workers, some of whom lie.

    MPIR_CVAR_ENABLE_HEAVY_YIELD=1 mpiexec -n 6 python examples/mpi_loop.py

Look at the accuracy, and at the last line: the parameters equal those of a run in which nobody lies, bit for bit.
"""

import argparse
import hashlib

import torch
from mpi4py import MPI
from torch import nn

import electioncode as ec
from electioncode import attacks
from electioncode.data import Batches, partition_rng

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--liars", type=int, default=1)
arguments = parser.parse_args()
torch.set_num_threads(1)

# Two noisy spirals, the same in every process.
generator = torch.Generator().manual_seed(0)
label = torch.randint(0, 2, (2000,), generator=generator)
radius = torch.rand(2000, generator=generator)
angle = 6 * radius + torch.pi * label + 0.1 * torch.randn(2000, generator=generator)
point = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)


def train(liars: int) -> tuple[float, str]:
    num_workers = MPI.COMM_WORLD.size - 1  # rank 0 counts the votes
    code = ec.plan(num_workers=num_workers, num_byzantine=1)
    byzantine = dict.fromkeys(range(liars), attacks.reverse())
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
    batches = Batches(len(point), 200, code.num_partitions)
    with ec.Election(code, ec.transport.MPITransport(), byzantine=byzantine) as election:
        optimizer = ec.Signum(model.parameters(), lr=2e-3, momentum=0.9, election=election)
        for step in range(arguments.steps):
            for partition in election.partitions:  # those that this worker holds; none on the server
                optimizer.zero_grad()
                samples = torch.from_numpy(batches.indices(step, partition).copy())
                with partition_rng(0, step, partition):
                    nn.functional.cross_entropy(model(point[samples]), label[samples]).backward()
                optimizer.cast(partition)
            optimizer.step()
    accuracy = (model(point).argmax(dim=1) == label).float().mean().item()
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    return accuracy, hashlib.sha256(flat.numpy().tobytes()).hexdigest()[:16]


honest = train(0)
attacked = train(arguments.liars)
if MPI.COMM_WORLD.rank == 0:
    for title, (accuracy, digest) in ((f"{arguments.liars} reverse", attacked), ("nobody lies", honest)):
        print(f"{title:12} accuracy {accuracy:.3f}, parameters {digest}")
    print("bit-identical" if honest == attacked else "different: more workers lie than the code tolerates")
