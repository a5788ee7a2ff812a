"""One import of PyTorch for all ranks of a job: imports the program, then forks the ranks.

    python forked.py <ranks> <folder>/<program> <scenario>[:<argument>...]...
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import traceback
from pathlib import Path

import torch
import torch.distributed as dist


def rank_main(rank: int, size: int, store: str, program, scenarios: list[str]) -> int:
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", store=dist.FileStore(store, size), rank=rank, world_size=size)
        for scenario in scenarios:
            name, *arguments = scenario.split(":")
            try:
                getattr(program, name)(*arguments)
            except BaseException:
                print(f"rank {rank}, {scenario}:", file=sys.stderr)
                raise
            dist.barrier()
        dist.destroy_process_group()
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    size, scenarios = int(sys.argv[1]), sys.argv[3:]
    folder, name = sys.argv[2].split("/")
    sys.path.insert(0, str(Path(__file__).parents[1] / folder / "programs"))
    program = importlib.import_module(name)
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
