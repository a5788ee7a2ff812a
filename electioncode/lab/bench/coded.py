"""Cases of coded votes: every worker's local majority, alone and with the vote over the workers."""

from __future__ import annotations

from typing import Any

import numpy as np

import electioncode as ec
from electioncode import reference
from electioncode.core import words_for
from electioncode.lab.bench import naive
from electioncode.lab.bench.case import Bound, Case, Way, equal, read
from electioncode.lab.bench.floats import as_votes, windows, words_of
from electioncode.lab.bench.pool import Pool
from electioncode.lab.bench.votes import Votes, on_signs


def coded_cases(d: int, full: bool) -> list[Case]:
    """Return the cases of coded votes at d coordinates; without `full`, those of the short run."""
    codes = [ec.bernoulli(15, 3.0), ec.cyclic(15, 5), ec.repetition(15, 5), ec.bernoulli(49, 3.0)]
    codes += [ec.cyclic(49, 25), ec.repetition(49, 7)] if full else []
    return [*(_local(code, d) for code in codes), *(_coded(code, d) for code in codes)]


def _allocation(code: ec.AllocationCode) -> Any:
    import torch

    return torch.tensor(code.allocation, dtype=torch.float32)


def _code_label(code: ec.AllocationCode) -> str:
    return f"{code.name.partition('(')[0]} r={code.redundancy:.2g}"


def _local(code: ec.AllocationCode, d: int) -> Case:
    n, k, row = code.num_workers, code.num_partitions, 8 * words_for(d)

    def ours(pool: Pool) -> Bound:
        slots, targets = pool.slots("bits", k * row), pool.slots("zeros messages", n * row)
        votes = [as_votes(w, d) for w in slots.arrays(np.uint64, (k, row // 8))]
        outs = [ec.PackedSigns(w, d) for w in targets.arrays(np.uint64, (n, row // 8))]

        def check() -> None:
            got = ec.local_majorities(votes[0], code, out=outs[0]).words
            for w in windows(d):
                part = words_of(w)
                expected, _ = reference.local_majorities(votes[0].words[:, part], code.allocation, w.stop - w.start)
                equal("local_majorities", got[:, part], expected)

        return Bound(lambda: ec.local_majorities(votes[slots.next()], code, out=outs[targets.next()]), check)

    def messages(signs: Any) -> Any:
        return naive.coded_messages(_allocation(code), signs)

    def expect(votes: ec.PackedSigns) -> np.ndarray:
        return np.sign(code.allocation.astype(np.float32) @ votes.unpack(np.float32))

    ways = (
        Way("electioncode", "local_majorities", ours),
        read("bits", k * row),
        Way("naive", "torch (A @ S).sign()", on_signs("signs-float32", k, d, messages, expect), "torch", slow=True),
    )
    label = f"local majorities, {_code_label(code)}"
    shown = code.name.startswith("bernoulli") and n == 15
    return Case(label, n, d, "packed", (k + n) * row, "(k + n) d/8", ways, goal=0.6, show_slow=shown)


def _coded(code: ec.AllocationCode, d: int) -> Case:
    k, row = code.num_partitions, 8 * words_for(d)

    def ours(pool: Pool) -> Bound:
        v = Votes(pool, k, d)

        def check() -> None:
            got = ec.coded_majority(v.votes[0], code, out=v.out).words
            for w in windows(d):
                part, size = words_of(w), w.stop - w.start
                local, _ = reference.local_majorities(v.votes[0].words[:, part], code.allocation, size)
                equal("coded_majority", got[part], reference.majority(list(local), size)[0])

        return Bound(lambda: ec.coded_majority(v.next(), code, out=v.out), check)

    def vote(signs: Any) -> Any:
        return naive.coded_vote(_allocation(code), signs)

    def expect(votes: ec.PackedSigns) -> np.ndarray:
        local = np.sign(code.allocation.astype(np.float32) @ votes.unpack(np.float32))
        return np.sign(local.sum(0))

    other = on_signs("signs-float32", k, d, vote, expect)
    ways = (
        Way("electioncode", "coded_majority", ours),
        read("bits", k * row),
        Way("naive", "torch (A @ S).sign().sum(0).sign()", other, "torch", slow=True),
    )
    label = f"coded majority, {_code_label(code)}"
    n, nbytes = code.num_workers, (k + 1) * row
    shown = code.name.startswith("bernoulli") and n == 15
    return Case(label, n, d, "packed", nbytes, "(k + 1) d/8", ways, goal=0.6, show_slow=shown)
