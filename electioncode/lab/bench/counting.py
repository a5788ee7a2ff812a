"""Cases of counts: Tally, disagreement, checksum."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

import electioncode as ec
from electioncode import reference
from electioncode.core import cpu, words_for
from electioncode.lab.bench import naive
from electioncode.lab.bench.case import Bound, Case, Way, equal, read, rewrite
from electioncode.lab.bench.floats import windows, words_of
from electioncode.lab.bench.pool import Pool
from electioncode.lab.bench.votes import Votes, check_majority, on_signs, plain_majority, row_bytes


def counting_cases(d: int, full: bool) -> list[Case]:
    """Return the cases of counts at d coordinates; without `full`, those of the short run."""
    sizes = (15, 49) if full else (15,)
    return [
        _tally(15, d),
        _tally_floats(15, d),
        *(_disagreement(n, d) for n in sizes),
        *(_with_disagreement(n, d) for n in sizes),
        _checksum(d),
    ]


def tally_rows(n: int) -> int:
    """Return how many rows n additions of one vote move: passing a plane that holds two costs two reads and a write.

    The counters are those of :class:`electioncode.Tally`: the first plane with a free row takes the rest.
    """
    held: list[int] = [0] * (n.bit_length() + 2)
    moved = 0
    for _ in range(n):
        full = next(i for i, rows in enumerate(held) if rows < 2)
        moved += 2 + 3 * full  # the vote in, the rest out; per plane two rows in, one out
        held[:full] = [1] * full
        held[full] += 1
    return moved


def _tally(n: int, d: int) -> Case:
    nbytes = tally_rows(n) * 8 * words_for(d)

    def ours(pool: Pool) -> Bound:
        v, tally = Votes(pool, 1, d), ec.Tally(d, n)

        def count() -> None:
            tally.reset()
            for _ in range(n):
                tally.add(v.next()[0])

        def check() -> None:
            count()
            rows = [v.votes[(v.slots.last - i) % len(v.slots)].words[0] for i in range(n)]
            for w in windows(d):
                expected, _ = reference.majority([r[words_of(w)] for r in rows], w.stop - w.start)
                equal("Tally", tally.majority().words[words_of(w)], expected)

        return Bound(count, check)

    ways = (Way("electioncode", "Tally.add, packed", ours), rewrite(3 * 8 * words_for(d), 1, cached=True))
    formula = f"{tally_rows(n) / n:.2g} n d/8"
    return Case("Tally.add of n votes", n, d, "packed", nbytes, formula, ways, "rewrite", 0.8)


def _tally_floats(n: int, d: int) -> Case:
    nbytes = 4 * n * d + (tally_rows(n) - n) * 8 * words_for(d)

    def ours(pool: Pool) -> Bound:
        slots = pool.slots("float32", 4 * d)
        xs = slots.arrays(np.float32, (d,))
        tally = ec.Tally(d, n)

        def count() -> None:
            tally.reset()
            for _ in range(n):
                tally.add(xs[slots.next()])

        def check() -> None:
            count()
            rows = [xs[(slots.last - i) % len(slots)] for i in range(n)]
            for w in windows(d):
                expected = reference.to_words(sum(np.sign(r[w]) for r in rows) > 0)
                equal("Tally of floats", tally.majority().numpy()[0][words_of(w)], expected)

        return Bound(count, check)

    def torch_sum(pool: Pool) -> Bound:
        import torch

        slots = pool.slots("float32", 4 * d)
        xs = [torch.from_numpy(x) for x in slots.arrays(np.float32, (d,))]
        total = torch.zeros(d)

        def count() -> None:
            total.zero_()
            for _ in range(n):
                total.add_(torch.sign(xs[slots.next()]))

        def check() -> None:
            count()
            rows = [xs[(slots.last - i) % len(slots)].numpy() for i in range(n)]
            equal("torch total", total, sum(np.sign(r) for r in rows))

        return Bound(count, check)

    ways = (
        Way("electioncode", "Tally.add, floats", ours),
        read("float32", 4 * d),
        Way("naive", "torch total.add_(sign(g))", torch_sum, "torch"),
    )
    return Case("Tally.add of n votes", n, d, "float32", nbytes, "4 n d + counters", ways, goal=0.8)


def _disagreement(n: int, d: int) -> Case:
    def ours(pool: Pool) -> Bound:
        v = Votes(pool, n, d)
        return Bound(lambda: ec.disagreement(v.next(), v.out), lambda: _check_disagreement(v.votes[0], v.out))

    def different(signs: np.ndarray) -> np.ndarray:
        return naive.count_different(signs, signs[0])

    def expect(votes: ec.PackedSigns) -> np.ndarray:
        return ec.disagreement(votes, votes[0])

    ways = (
        Way("electioncode", "disagreement", ours),
        read("bits", row_bytes(n, d)),
        Way("naive", "numpy count_nonzero(S != w), int8", on_signs("signs-int8", n, d, different, expect), ""),
    )
    return Case("disagreement", n, d, "packed", row_bytes(n, d), "n d/8", ways)


def _check_disagreement(votes: ec.PackedSigns, winner: ec.PackedSigns, counts: Any = None) -> None:
    """Raise AssertionError unless the counts are right. The reference unpacks to int64: too slow at full size."""
    words, w = votes.numpy()[0], winner.numpy()[0]
    expected = [np.unpackbits((row ^ w).view(np.uint8)).sum(dtype=np.int64) for row in words]
    equal("disagreement", ec.disagreement(votes, winner) if counts is None else counts, expected)


def _with_disagreement(n: int, d: int) -> Case:
    def ours(pool: Pool) -> Bound:
        v = Votes(pool, n, d)

        def check() -> None:
            winner, counts = ec.majority(v.votes[0], return_disagreement=True)
            check_majority(v.votes[0], winner)
            _check_disagreement(v.votes[0], winner, counts)

        return Bound(lambda: ec.majority(v.next(), out=v.out, return_disagreement=True), check)

    ways = (
        Way("electioncode", "majority with disagreement", ours),
        Way("part", "plain majority", plain_majority(n, d, {})),
        read("bits", row_bytes(n, d)),
    )
    return Case("majority with disagreement", n, d, "packed", row_bytes(n, d), "n d/8", ways)


def _checksum(d: int) -> Case:
    row = 8 * words_for(d)

    def ours(pool: Pool) -> Bound:
        slots = pool.slots("bits", row)
        words = slots.arrays(np.uint64, (row // 8,))
        return Bound(
            lambda: cpu.checksum(words[slots.next()]),
            lambda: equal("checksum", np.uint64(cpu.checksum(words[0])), np.uint64(reference.checksum(words[0]))),
        )

    def other(way: Callable[[Any], Any]) -> Callable[[Pool], Bound]:
        def make(pool: Pool) -> Bound:
            slots = pool.slots("bits", row)
            words = slots.arrays(np.uint64, (row // 8,))
            return Bound(lambda: way(words[slots.next()]), lambda: equal("sum", way(words[0]), way(words[0].copy())))

        return make

    ways = (
        Way("electioncode", "checksum", ours),
        read("bits", row),
        Way("naive", "zlib.crc32", other(zlib.crc32), ""),
        Way("naive", "the same in numpy", other(reference.checksum), ""),
    )
    return Case("checksum", 1, d, "packed", row, "d/8", ways)
