"""Check every CUDA kernel on one GPU against the CPU's results, then time it against the device's own copy.

    python bench/gpu.py                     # d = 11,173,962 (ResNet-18) and d = 10^9
    python bench/gpu.py --quick             # the checks, and 11,173,962 alone
    python bench/gpu.py --json table.json

Checks use fresh random inputs, and outputs that hold garbage before. Times are GPU times between two events around a
CUDA graph of calls, the median of several; calls take turns on buffers of more than four times the L2 cache. A row's
share is its bytes per second (the fewest bytes that must move) over those of a device-to-device copy of as many bytes
in the same run. Needs a GPU, torch with CUDA, and electioncode built with nvcc; says so and ends otherwise.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import electioncode as ec
from electioncode import core
from electioncode.lab.bench import RESNET18_COORDINATES as RESNET18
from electioncode.lab.bench import RESNET18_SHAPES

LARGE = 1_000_000_000
STEP_VOTERS = 15
DEVICE = "cuda"  # tests put the emulated device here


def refuse(why: str) -> None:
    print(f"bench/gpu.py measured nothing: {why}", file=sys.stderr)
    raise SystemExit(2)


def import_torch() -> Any:
    why = core.cuda_unavailable()
    if why:
        refuse(why)
    try:
        import torch
    except ImportError:
        refuse("PyTorch is not installed: pip install torch")
    if not torch.cuda.is_available():
        refuse(f"torch {torch.__version__} sees no GPU; it must be built with CUDA")
    return torch


def resnet18_sizes() -> list[int]:
    """Return the elements of each parameter of ResNet-18 for CIFAR-10, in order."""
    return [math.prod(shape) for shape in RESNET18_SHAPES]


# Checks


def poisoned(torch: Any, shape: Sequence[int], dtype: Any) -> Any:
    """Make memory of all ones, which no result may show."""
    t = torch.empty(tuple(shape), dtype=dtype, device=DEVICE)
    t.view(torch.uint8).fill_(0xFF)
    return t


def on_gpu(torch: Any, votes: ec.PackedSigns) -> ec.PackedSigns:
    def words(a: np.ndarray) -> Any:
        return torch.from_numpy(a.view(np.int64)).to(DEVICE)

    return ec.PackedSigns(words(votes.words), votes.d, None if votes.mask is None else words(votes.mask))


def dirty(torch: Any, shape: tuple[int, ...], d: int, masked: bool) -> ec.PackedSigns:
    size = (*shape, core.words_for(d))
    planes = [poisoned(torch, size, torch.int64) for _ in range(1 + masked)]
    return ec.PackedSigns(planes[0], d, planes[1] if masked else None)


def check(torch: Any, rng: np.random.Generator, sizes: Sequence[int], most_voters: int = 255) -> int:
    """Compare every operation with the CPU's; return the number of comparisons. AssertionError if one differs."""
    count = 0

    def equal(what: str, ours: Any, theirs: Any) -> None:
        nonlocal count
        count += 1
        if isinstance(ours, ec.PackedSigns):
            assert ours == theirs, what
        else:
            np.testing.assert_array_equal(ours.cpu().numpy(), theirs, what)

    ties = ("plus", "minus", "random", "abstain")
    for d in sizes:
        for dtype in (np.float16, np.float32, np.float64):
            x = rng.standard_normal((3, d)).astype(dtype)
            x[rng.random(x.shape) < 0.2] = 0
            for zero in ties:
                out = dirty(torch, (3,), d, zero == "abstain")
                ec.pack(torch.from_numpy(x).to(DEVICE), zero, seed=1, step=2, stream=3, out=out)
                equal(f"pack {dtype.__name__} {d} {zero}", out, ec.pack(x, zero, seed=1, step=2, stream=3))
                signs = poisoned(torch, (3, d), getattr(torch, np.dtype(dtype).name))
                equal("unpack", out.unpack(out=signs), ec.pack(x, zero, seed=1, step=2, stream=3).unpack(dtype))
        b = torch.randn(d).to(torch.bfloat16)
        equal("pack bfloat16", ec.pack(b.to(DEVICE), out=dirty(torch, (), d, False)), ec.pack(b.float().numpy()))
        for n in (1, 2, 3, 15, 16, 40, most_voters):
            x = rng.standard_normal((n, d)).astype(np.float32)
            x[rng.random(x.shape) < 0.2] = 0
            weights = rng.integers(-9, 100, n)
            for votes in (ec.pack(x), ec.pack(x, "abstain")):
                there = on_gpu(torch, votes)
                for tie in ties:
                    out = dirty(torch, (), d, tie == "abstain")
                    winner, counts = ec.majority(there, tie, seed=4, out=out, return_disagreement=True)
                    expected = ec.majority(votes, tie, seed=4, return_disagreement=True)
                    equal(f"majority {n} {d} {tie}", winner, expected[0])
                    equal("disagreement", counts, expected[1])
                    weighted = ec.majority(there, tie, weights, out=dirty(torch, (), d, tie == "abstain"))
                    equal("weighted majority", weighted, ec.majority(votes, tie, weights))
                tally, host = ec.Tally(d, n), ec.Tally(d, n)
                for i in range(n):
                    tally.add(there[i])
                    host.add(votes[i])
                equal("tally", tally.majority("random"), host.majority("random"))
                equal("margin", tally.margin(), host.margin())
        for code in (ec.cyclic(49, 25), ec.deterministic(9, 2), ec.repetition(15, 5)):
            votes = ec.pack(rng.standard_normal((code.num_partitions, d)))
            for tie in ties:
                there = on_gpu(torch, votes)
                out = dirty(torch, (code.num_workers,), d, tie == "abstain")
                equal("local", ec.local_majorities(there, code, tie, out=out), ec.local_majorities(votes, code, tie))
                out = dirty(torch, (), d, tie == "abstain")
                equal("coded", ec.coded_majority(there, code, tie, out=out), ec.coded_majority(votes, code, tie))
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        params = [torch.randn(size).to(dtype) for size in (1, 64, 1000, 100_003)]
        sides = []
        for device in ("cpu", DEVICE):
            held = [torch.nn.Parameter(p.clone().to(device)) for p in params]
            optimizer = ec.Signum(held, 0.01, 0.9, 0.1)
            for step in range(3):
                for i, p in enumerate(held):
                    g = torch.Generator().manual_seed(100 * step + i)
                    p.grad = torch.randn(p.shape, generator=g).to(dtype).to(device)
                optimizer.step()
            sides.append([p.detach().cpu().double().numpy() for p in held])
        for ours, theirs in zip(*sides, strict=True):
            equal(f"Signum {dtype}", torch.from_numpy(ours), theirs)
    ec.synchronize()
    return count


# Times


class Sets:
    """The copies of a case's buffers: enough to outgrow the L2 cache four times."""

    def __init__(self, torch: Any, nbytes: int) -> None:
        properties = torch.cuda.get_device_properties(0)
        cache = getattr(properties, "L2_cache_size", 64 << 20)
        free = torch.cuda.mem_get_info()[0]
        self.count = max(1, min(-(-4 * cache // max(nbytes, 1)), 64, int(0.7 * free / max(nbytes, 1))))
        if nbytes > 0.8 * free:
            raise MemoryError

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))


def seconds_each(torch: Any, calls: Sequence[Callable[[], Any]], repeats: int = 9) -> float:
    """Return the GPU seconds of one call: the median of several replays of a graph of all calls, between two events."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for call in calls:
            call()  # warm up: modules load, torch allocates
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    graph.replay()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3 / len(calls))
    return statistics.median(times)


def copy_speed(torch: Any, nbytes: int) -> float:
    """Return bytes per second, read and written, of a device-to-device copy that moves as many bytes."""
    half = max(nbytes // 2, 1)
    pairs = [[torch.empty(half, dtype=torch.uint8, device=DEVICE) for _ in range(2)] for _ in Sets(torch, nbytes)]
    for a, b in pairs:
        a.zero_(), b.zero_()
    return 2 * half / seconds_each(torch, [lambda a=a, b=b: b.copy_(a) for a, b in pairs])


class Table:
    """The rows that were timed, printed as they come."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.rows: list[dict[str, Any]] = []
        self._copies: dict[int, float] = {}

    def time(self, what: str, d: int, nbytes: int, build: Callable[[], Callable[[], Any]]) -> float | None:
        """Time one row; `build` makes a set of buffers and returns the call on it."""
        torch = self.torch
        try:
            calls = [build() for _ in Sets(torch, nbytes)]
            seconds = seconds_each(torch, calls)
            del calls
            if nbytes not in self._copies:
                self._copies[nbytes] = copy_speed(torch, nbytes)
        except (MemoryError, torch.cuda.OutOfMemoryError):
            print(f"{what:<34} d = {d:>13,}  not measured: too large for this GPU")
            return None
        finally:
            torch.cuda.empty_cache()
        speed = nbytes / seconds
        share = speed / self._copies[nbytes]
        self.rows.append({"what": what, "d": d, "seconds": seconds, "bytes": nbytes, "share_of_copy": share})
        print(f"{what:<34} d = {d:>13,}  {1e6 * seconds:>10.1f} us  {speed / 1e9:>8.0f} GB/s  {100 * share:>5.0f} %")
        return seconds


def time_all(torch: Any, table: Table, d: int, voters: Sequence[int]) -> None:
    """Time every operation at d coordinates."""
    words = 8 * core.words_for(d)

    def random_votes(*shape: int) -> ec.PackedSigns:
        bits = torch.randint(-(2**63), 2**63 - 1, (*shape, core.words_for(d)), dtype=torch.int64, device=DEVICE)
        if d % 64:
            bits[..., -1] &= (1 << (d % 64)) - 1
        return ec.PackedSigns(bits, d)

    def pack(dtype: Any) -> Callable[[], Callable[[], Any]]:
        def build() -> Callable[[], Any]:
            x, out = torch.randn(d, dtype=dtype, device=DEVICE), random_votes()
            return lambda: ec.pack(x, out=out)

        return build

    def unpack() -> Callable[[], Any]:
        votes, out = random_votes(), torch.empty(d, device=DEVICE)
        return lambda: votes.unpack(out=out)

    def majority(n: int) -> Callable[[], Callable[[], Any]]:
        def build() -> Callable[[], Any]:
            votes, out = random_votes(n), random_votes()
            return lambda: ec.majority(votes, out=out)

        return build

    def disagreement() -> Callable[[], Any]:
        votes, winner = random_votes(STEP_VOTERS), random_votes()
        return lambda: ec.disagreement(votes, winner)

    for dtype in (torch.float32, torch.bfloat16):
        size = torch.empty(0, dtype=dtype).element_size()
        table.time(f"pack {str(dtype)[6:]}", d, size * d + words, pack(dtype))
    table.time("unpack float32", d, 4 * d + words, unpack)
    table.time("momentum + pack float32", d, 12 * d + words, lambda: pack_step(torch, [d])[0])
    table.time("update float32", d, 8 * d + words, lambda: update_step(torch, [d], random_votes())[0])
    for n in voters:
        table.time(f"majority n = {n}", d, (n + 1) * words, majority(n))
    table.time(f"disagreement n = {STEP_VOTERS}", d, (STEP_VOTERS + 1) * words, disagreement)
    code = ec.cyclic(49, 25)
    if d <= RESNET18:

        def coded() -> Callable[[], Any]:
            votes, out = random_votes(49), random_votes()
            return lambda: ec.coded_majority(votes, code, out=out)

        table.time("coded majority, cyclic(49, 25)", d, 50 * words, coded)


def pack_step(torch: Any, sizes: Sequence[int]) -> tuple[Callable[[], Any], Any]:
    """Return a call for momentum and signs of tensors of these sizes, as Signum makes it, and its words."""
    from electioncode.core import tensors

    grads, momenta = ([torch.randn(size, device=DEVICE) for size in sizes] for _ in range(2))
    words = torch.empty(sum(core.words_for(size) for size in sizes), dtype=torch.int64, device=DEVICE)
    rule = tensors.MomentumRule(0.9, 1 - 0.9)
    arguments = ("Signum", grads, momenta, rule, (words, None), ("plus", "raise"), tensors.RandomStream(0, 0, 0, 0))
    return lambda: tensors.pack_tensors(*arguments), words


def update_step(torch: Any, sizes: Sequence[int], winner: ec.PackedSigns) -> tuple[Callable[[], Any], Any]:
    """Return a call for the update of tensors of these sizes, and the tensors."""
    from electioncode.core import tensors

    params = [torch.randn(size, device=DEVICE) for size in sizes]
    return lambda: tensors.update_tensors("Signum", params, winner.arrays(), 0.001, 0.01), params


def time_step(torch: Any, table: Table) -> None:
    """Time a worker's whole step on ResNet-18's tensors, and the same in torch's operations."""
    sizes = resnet18_sizes()
    d = 64 * sum(core.words_for(size) for size in sizes)
    words = 8 * core.words_for(d)

    def ours() -> Callable[[], Any]:
        first, own = pack_step(torch, sizes)
        voters = torch.randint(-(2**63), 2**63 - 1, (STEP_VOTERS, core.words_for(d)), dtype=torch.int64, device=DEVICE)
        votes, winner = ec.PackedSigns(voters, d), ec.PackedSigns(torch.empty_like(own), d)
        last, _ = update_step(torch, sizes, winner)
        return lambda: (first(), ec.majority(votes, out=winner), last())

    def theirs() -> Callable[[], Any]:
        momentum, grad, param = (torch.randn(RESNET18, device=DEVICE) for _ in range(3))
        votes = torch.randint(0, 2, (STEP_VOTERS, RESNET18), dtype=torch.int8, device=DEVICE).mul_(2).sub_(1)

        def step() -> None:
            momentum.mul_(0.9).add_(grad, alpha=1 - 0.9)
            votes[0].copy_(torch.sign(momentum))
            winner = torch.sign(votes.sum(0, dtype=torch.int8))
            param.mul_(1 - 0.001 * 0.01).add_(winner, alpha=-0.001)

        return step

    nbytes = 20 * RESNET18 + (STEP_VOTERS + 3) * words
    fast = table.time(f"step, ResNet-18, n = {STEP_VOTERS}", RESNET18, nbytes, ours)
    slow = table.time("the same in torch, flat", RESNET18, nbytes, theirs)
    if fast and slow:
        print(f"torch / electioncode: {slow / fast:.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only 11,173,962 coordinates")
    parser.add_argument("--seed", type=int, help="of the checks' inputs (default: fresh)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table there")
    args = parser.parse_args()
    torch = import_torch()
    seed = np.random.SeedSequence().entropy if args.seed is None else args.seed
    name = torch.cuda.get_device_name(0)
    print(f"{name}, torch {torch.__version__}, {ec.build_config()['cuda']}")
    rng = np.random.default_rng(seed)
    count = check(torch, rng, (1, 65, 2049, int(rng.integers(10**5, 10**6))))
    print(f"{count} results equal the CPU's (seed {seed})\n")
    table = Table(torch)
    time_all(torch, table, RESNET18, (3, 15, 49, 255))
    time_step(torch, table)
    if not args.quick:
        time_all(torch, table, LARGE, (3, 15))
    ec.synchronize()
    if args.json:
        record = {"device": name, "torch": torch.__version__, "build": ec.build_config(), "rows": table.rows}
        args.json.write_text(json.dumps(record, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
