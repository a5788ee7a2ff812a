"""A rank under torchrun that votes, and leaves with transports closed, open, forgotten, and one that still waits."""

from __future__ import annotations

import time

import torch.distributed as dist
from elections import expected, gradients, vote

import electioncode as ec
from electioncode.transport import TorchTransport

dist.init_process_group("gloo")
rank, code = dist.get_rank(), ec.uncoded(dist.get_world_size())
x = gradients(code, 1000, 0)
elections = [ec.Election(code, TorchTransport(topology="allgather", timeout=20)) for _ in range(3)]
for election in elections:
    assert vote(election, x) == expected(code, x, 0)
elections[0].close()
if rank == 1:
    time.sleep(1)
else:
    elections[2].transport.timeout = 0.2
    assert vote(elections[2], x) == expected(code, x, 1, {1})
for topology in ("server", "sharded"):
    forgotten = TorchTransport(topology=topology, trusted_workers=True, timeout=20, verify_every=1)
    last = ec.Election(ec.uncoded(forgotten.num_workers), forgotten)
    vote(last, gradients(last.code, 3000, 0))
print(f"rank {rank} leaves")
