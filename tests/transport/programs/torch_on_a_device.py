"""Elections whose messages stay on a device, of which the CPU is the emulation: what NCCL would do, on Gloo."""

from __future__ import annotations

import numpy as np
import torch
from checks import emulated
from elections import Tampering, gradients, same
from torch_failures import quorum
from torch_votes import D, counts, equal, limit, transport, verified, workers

import electioncode as ec
from electioncode.election import Election
from electioncode.transport import collective, gloo


def on_a_device() -> None:
    """The transport's scenarios with messages that are tensors; to the end of this launch."""
    emulated()
    gloo.Mail = lambda group: collective.Mail(group, torch.device("cpu"))
    for topology in ("server", "allgather"):
        equal(topology)
        limit(topology)
        verified(topology)
        quorum(topology)
        tensors(topology)
    equal("sharded")  # in frames


def tensors(topology: str) -> None:
    """Casts and winner on the device; what is no vote is left out, and any bytes of a vote's length are one."""
    code, width = ec.uncoded(workers(topology)), -(-D // 64)
    draw = np.random.default_rng(5)
    noise = draw.integers(0, 256, 16 * width, dtype=np.uint8)
    lies = {
        "none": None,
        "empty": noise[:0],
        "a byte": noise[:1],
        "short": noise[: 8 * width - 1],
        "a word more": noise[: 8 * width + 8],
        "as a refusal": noise[: 8 * width + 1],
        "votes": noise[: 8 * width],
        "votes and mask": noise,
    }
    t = transport(topology)
    liar = t.workers == (1,)
    tampering = Tampering(t)
    with Election(code, tampering if liar else t) as election:
        for step, (name, lie) in enumerate(lies.items()):
            tampering.change = lambda m, before, lie=lie: None if lie is None else lie.tobytes()
            x = gradients(code, D, step)
            for partition in election.partitions:
                election.cast(partition, torch.from_numpy(x[partition].astype(np.float32)))
            winner = election.resolve(D)
            rows = [ec.pack(x[j].astype(np.float32)) for j in range(code.num_workers) if j != 1]
            if name.startswith("votes"):
                words = lie.view(np.uint64).reshape(-1, width).copy()
                words[:, -1] &= np.uint64(2 ** (D % 64) - 1)
                rows.insert(1, ec.PackedSigns(words[0] & words[-1], D, words[-1] if len(words) == 2 else None))
            assert winner.backend.name == ("cuda" if t.workers else "numpy")
            if not (liar and topology == "allgather"):  # which believes itself
                same(winner, ec.majority(rows), (topology, name))
        if counts(t) and not liar:
            assert election.stats.abstentions == {1: 6}, election.stats
        if topology == "allgather" and not liar:
            others = t.num_workers - 1
            assert election.stats.bytes_sent == len(lies) * others * (8 * width + 16), election.stats
