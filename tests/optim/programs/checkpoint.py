"""Ranks that train by election, save their momentum together, and resume."""

from __future__ import annotations

import shutil
import tempfile
import warnings

import torch
import torch._dynamo  # every optimizer needs it: once, before the ranks are forked
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

import electioncode as ec
from electioncode.transport import TorchTransport


def fresh():
    torch.manual_seed(3)
    model = torch.nn.Linear(10, 3)
    code = ec.AllocationCode([[1, 1, 0], [0, 1, 1]])
    election = ec.Election(code, TorchTransport(topology="allgather"), tie="random", seed=4)
    return model, election, ec.Lion(model.parameters(), 0.01, weight_decay=0.1, election=election)


def train(model, election, optimizer, steps):
    for step in steps:
        for partition in election.partitions:
            optimizer.zero_grad()
            x = torch.randn(4, 10, generator=torch.Generator().manual_seed(10 * step + partition))
            model(x).square().sum().backward()
            optimizer.cast(partition)
        optimizer.step()


def parts(model, election, optimizer):
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "election": election.state_dict()}


def resume() -> None:
    """Two ranks, three partitions, one of them shared: nothing is lost, and nothing is mixed up."""
    warnings.simplefilter("ignore")  # torch's own
    rank = dist.get_rank()
    folder = [tempfile.mkdtemp() if rank == 0 else None]
    dist.broadcast_object_list(folder)
    model, election, optimizer = fresh()
    train(model, election, optimizer, range(3))
    dcp.save(parts(model, election, optimizer), checkpoint_id=folder[0])
    train(model, election, optimizer, range(3, 6))

    resumed, its_election, its_optimizer = fresh()
    its_optimizer.init_state()
    state = parts(resumed, its_election, its_optimizer)
    dcp.load(state, checkpoint_id=folder[0])
    resumed.load_state_dict(state["model"])
    its_optimizer.load_state_dict(state["optimizer"])
    its_election.load_state_dict(state["election"])
    train(resumed, its_election, its_optimizer, range(3, 6))
    for p, q in zip(model.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(p, q)
        held, its = optimizer.state[p]["exp_avgs"], its_optimizer.state[q]["exp_avgs"]
        assert sorted(held) == sorted(its) == list(election.partitions) == [rank, rank + 1]
        assert all(torch.equal(held[j], its[j]) for j in held)
        assert not torch.equal(held[rank], held[rank + 1])
    everybodys = [None, None]
    dist.all_gather_object(everybodys, [p.detach() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*everybodys, strict=True))
    election.close()
    its_election.close()
    if rank == 0:
        shutil.rmtree(folder[0])
