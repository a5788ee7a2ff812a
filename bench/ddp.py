"""Compare a step of DDP by votes with its own all-reduce, in one run on Gloo: time, its shares, and bytes.

    python bench/ddp.py [--ranks 3 6] [--width 512] [--steps 20] [--bucket-mb 1]

The three ways take turns, step by step, so that noise falls on all alike; numbers are medians of rank 0. The ranks
share the cores and the memory of one machine. Over a network, bytes would be the same; times would not.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP

from electioncode.hooks import ddp, voter

LAYERS = 8


def network(width: int) -> nn.Module:
    torch.manual_seed(0)
    layers = [layer for _ in range(LAYERS) for layer in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def timed(times: dict[str, float], name: str, function):
    def wrapper(*args, **kwargs):
        start = times[f"{name} starts"] = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            times[f"{name} ends"] = time.perf_counter()
            times[name] += times[f"{name} ends"] - start

    return wrapper


def rank_main(rank: int, ranks: int, arguments: argparse.Namespace, store: str, times: dict[str, float]) -> None:
    torch.set_num_threads(1)
    ddp_options = {"bucket_cap_mb": arguments.bucket_mb, "gradient_as_bucket_view": True}
    dist.init_process_group("gloo", store=dist.FileStore(store, ranks), rank=rank, world_size=ranks)
    voter.BucketRound.message = timed(times, "pack", voter.BucketRound.message)
    voter.BucketVote.decode = timed(times, "count", voter.BucketVote.decode)
    voter.BucketRound.count = timed(times, "count and write", voter.BucketRound.count)
    models = {name: DDP(network(arguments.width), **ddp_options) for name in ("all-reduce", "vote")}
    state = ddp.MajorityVoteState(models["vote"], momentum=0.9)
    buckets = set()

    def hook(state, bucket):
        buckets.add(bucket.index())
        return ddp.majority_vote_hook(state, bucket)

    models["vote"].register_comm_hook(state, hook)
    momentum = {"all-reduce": 0.9, "vote": 0.0}  # the hook has the vote's
    optimizers = {k: torch.optim.SGD(m.parameters(), lr=1e-4, momentum=momentum[k]) for k, m in models.items()}
    x = torch.randn(32, arguments.width, generator=torch.Generator().manual_seed(rank))

    def step(name: str, communicate: bool) -> tuple[float, dict[str, float]]:
        model, optimizer = models[name], optimizers[name]
        optimizer.zero_grad()
        dist.barrier()
        times.clear()
        start = time.perf_counter()
        if communicate:
            model(x).square().mean().backward()
        else:
            with model.no_sync():
                model(x).square().mean().backward()
        update = time.perf_counter()
        optimizer.step()
        end = time.perf_counter()
        wait = times["count starts"] - times["pack ends"]  # for the last bucket, which no backward hides
        return end - start, {**times, "update": end - update, "wait": wait}

    totals, shares = defaultdict(list), defaultdict(list)
    for number in range(arguments.steps + 3):  # DDP rebuilds its buckets after the first step
        for way, name, communicate in (
            ("alone", "all-reduce", False),
            ("all-reduce", "all-reduce", True),
            ("vote", "vote", True),
        ):
            seconds, parts = step(name, communicate)
            if number >= 3:
                totals[way].append(seconds)
                for part in parts if way == "vote" else ():
                    shares[part].append(parts[part])
    if rank == 0:
        report(ranks, len(buckets), state, models["vote"], totals, shares)
    dist.barrier()
    dist.destroy_process_group()


def report(ranks, buckets, state, model, totals, shares) -> None:
    d = sum(p.numel() for p in model.parameters())
    ms = {way: 1e3 * statistics.median(seconds) for way, seconds in totals.items()}
    part = {name: 1e3 * statistics.median(seconds) for name, seconds in shares.items()}
    write = part["count and write"] - part["count"]
    sent, dense = state.bytes_sent / state.step, 2 * (ranks - 1) / ranks * 4 * d
    print(f"{ranks} ranks, {d:,} parameters, {buckets} buckets")
    times = dense / sent
    print(f"  each rank sends {sent:,.0f} bytes per step; float32 all-reduce {dense:,.0f}: {times:.1f} times as many")
    print(f"  step: alone {ms['alone']:.1f} ms, all-reduce {ms['all-reduce']:.1f} ms, vote {ms['vote']:.1f} ms")
    print(
        f"  of the vote: momentum and pack {part['pack']:.1f} ms, exchange of the last bucket {part['wait']:.1f} ms "
        f"(the others behind backward), count {part['count']:.1f} ms, gradients written {write:.1f} ms, update "
        f"{part['update']:.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[3, 6])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--bucket-mb", type=float, default=1.0)
    arguments = parser.parse_args()
    for ranks in arguments.ranks:
        with tempfile.TemporaryDirectory() as folder:
            options = (ranks, arguments, f"{folder}/store", defaultdict(float))
            mp.start_processes(rank_main, options, nprocs=ranks, start_method="fork")


if __name__ == "__main__":
    main()
