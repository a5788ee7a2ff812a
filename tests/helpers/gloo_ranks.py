"""Play scenarios in every rank of a Gloo job, with one import of PyTorch for all: the ranks are forked.

    python gloo_ranks.py <ranks> <folder>/<program> <scenario>...
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback

import torch
import torch.distributed as dist
from scenarios import load, play


def rank_main(rank: int, size: int, store: str, program, scenarios: list[str]) -> int:
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", store=dist.FileStore(store, size), rank=rank, world_size=size)
        for scenario in scenarios:
            play(program, scenario, rank)
            dist.barrier()
        dist.destroy_process_group()
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    size, program, scenarios = int(sys.argv[1]), load(sys.argv[2]), sys.argv[3:]
    ranks = {}
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(size):
            pid = os.fork()
            if pid == 0:
                status = rank_main(rank, size, f"{folder}/store", program, scenarios)
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
            ranks[pid] = rank
        expected = getattr(program, "EXPECTED_STATUS", {})
        failed = False
        while ranks:
            pid, status = os.wait()
            rank = ranks.pop(pid)
            if os.waitstatus_to_exitcode(status) != expected.get(rank, 0):
                print(f"rank {rank} ended with status {os.waitstatus_to_exitcode(status)}", file=sys.stderr)
                failed = True
                for other in ranks:
                    os.kill(other, 9)
    sys.exit(failed)


if __name__ == "__main__":
    main()
