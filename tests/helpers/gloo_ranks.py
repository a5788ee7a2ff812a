"""Run every rank of a Gloo job with one import of PyTorch for all: the ranks are forked.

python gloo_ranks.py <ranks> <folder>/<program> <scenario>...   plays scenarios, in a group
python gloo_ranks.py <ranks> <file>.py <option>...              runs a file as torchrun does
"""

from __future__ import annotations

import os
import runpy
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable

import torch
import torch.distributed as dist
from scenarios import load, play


def scenarios(size: int, program, names: list[str], folder: str) -> Callable[[int], None]:
    """Return what a rank does to play scenarios."""

    def rank_main(rank: int) -> None:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", store=dist.FileStore(f"{folder}/store", size), rank=rank, world_size=size)
        for name in names:
            play(program, name, rank)
            dist.barrier()
        dist.destroy_process_group()

    return rank_main


def script(size: int, arguments: list[str]) -> Callable[[int], None]:
    """Return what a rank does to run a file in torchrun's environment."""
    import torch._dynamo  # noqa: F401  (every optimizer needs it, and it takes as long as torch itself)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def rank_main(rank: int) -> None:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")

    return rank_main


def forked(size: int, rank_main: Callable[[int], None], expected: dict[int, int]) -> bool:
    """Run the ranks; return whether all ended with the expected status, which is 0 unless given."""
    ranks = {}
    for rank in range(size):
        pid = os.fork()
        if pid == 0:
            status = 0
            try:
                rank_main(rank)
            except BaseException:
                traceback.print_exc()
                status = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        ranks[pid] = rank
    right = True
    while ranks:
        pid, status = os.wait()
        rank = ranks.pop(pid)
        if os.waitstatus_to_exitcode(status) != expected.get(rank, 0):
            print(f"rank {rank} ended with status {os.waitstatus_to_exitcode(status)}", file=sys.stderr)
            right = False
            for other in ranks:
                os.kill(other, 9)
    return right


def main() -> bool:
    size, program, *arguments = int(sys.argv[1]), *sys.argv[2:]
    if program.endswith(".py"):
        return forked(size, script(size, [program, *arguments]), {})
    loaded = load(program)
    with tempfile.TemporaryDirectory() as folder:
        return forked(size, scenarios(size, loaded, arguments, folder), getattr(loaded, "EXPECTED_STATUS", {}))


if __name__ == "__main__":
    sys.exit(not main())
