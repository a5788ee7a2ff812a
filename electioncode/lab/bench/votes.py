"""Cases of the majority vote: plain, from gradients, with ties, weights and masks, and small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import electioncode as ec
from electioncode import reference
from electioncode.core import cpu, words_for
from electioncode.lab.bench import naive
from electioncode.lab.bench.case import Bound, Case, Way, equal, read
from electioncode.lab.bench.floats import as_votes, windows, words_of
from electioncode.lab.bench.pool import Pool, TooLarge

SHORT_N = (3, 9, 15, 49, 255)
FULL_N = (3, 5, 7, 9, 15, 31, 49, 101, 255, 1023)


def vote_cases(d: int, full: bool) -> list[Case]:
    """Return the cases of the majority vote at d coordinates; without `full`, those of the short run."""
    return [
        *(_majority(n, d) for n in (FULL_N if full else SHORT_N)),
        _from_gradients(9, d),
        _variant("majority, random ties", 16, d, {"tie": "random", "seed": 1, "step": 2}),
        _variant("majority, weights", 15, d, {"weights": np.arange(15) % 7 + 1}),
        _masked(15, d),
        _small(5, 1000),
    ]


class Votes:
    """Packed votes ``(n, d)`` in every slot, and one result that every call writes."""

    def __init__(self, pool: Pool, n: int, d: int) -> None:
        self.slots = pool.slots("bits", n * 8 * words_for(d))
        self.votes = [as_votes(w, d) for w in self.slots.arrays(np.uint64, (n, words_for(d)))]
        self.out = ec.majority(self.votes[0])

    def next(self) -> ec.PackedSigns:
        return self.votes[self.slots.next()]


def check_majority(votes: ec.PackedSigns, got: ec.PackedSigns, **policies: Any) -> None:
    """Raise AssertionError unless a winner is the reference's."""
    words, masks = votes.numpy()
    policies = {"tie": "plus", **policies}
    compared = windows(votes.d)
    for w in compared[:1] if policies["tie"] == "random" else compared:  # the oracle draws from word 0 on
        part = words_of(w)
        held = None if masks is None else list(masks[:, part])
        expected, _ = reference.majority(list(words[:, part]), w.stop - w.start, masks=held, **policies)
        equal("majority", got.numpy()[0][part], expected)


def row_bytes(n: int, d: int) -> int:
    """Return the bytes of n packed votes."""
    return n * 8 * words_for(d)


def plain_majority(n: int, d: int, policies: dict[str, Any]) -> Callable[[Pool], Bound]:
    """Return a way to vote with ec.majority."""

    def make(pool: Pool) -> Bound:
        v = Votes(pool, n, d)
        return Bound(
            lambda: ec.majority(v.next(), out=v.out, **policies),
            lambda: check_majority(v.votes[0], ec.majority(v.votes[0], out=v.out, **policies), **policies),
        )

    return make


def on_signs(
    contents: str, n: int, d: int, way: Callable[[Any], Any], expect: Callable[[ec.PackedSigns], Any] = ec.majority
) -> Callable[[Pool], Bound]:
    """Return a naive way on ``(n, d)`` signs or floats of the pool; `expect` answers from the packed votes."""

    def make(pool: Pool) -> Bound:
        kind = contents.partition(" ")[0].removeprefix("signs-")
        dtype = np.dtype(bool if kind == "booleans" else kind)
        slots = pool.slots(contents, n * d * dtype.itemsize)
        arrays: list[Any] = slots.arrays(dtype, (n, d))
        data = arrays
        if kind in ("float32", "booleans"):
            import torch

            data = [torch.from_numpy(a) for a in arrays]

        def check() -> None:
            got = np.asarray(way(data[0]))
            for w in windows(d):
                part = got[..., w] if got.shape[-1] == d else np.asarray(way(data[0][:, w]))
                _check_way(part, arrays[0][:, w], expect)

        return Bound(lambda: way(data[slots.next()]), check)

    return make


def _check_way(got: np.ndarray, signs: np.ndarray, expect: Callable[[ec.PackedSigns], Any]) -> None:
    votes = _packed(signs)
    expected = expect(votes)
    if not isinstance(expected, ec.PackedSigns):
        return equal("naive way", got, expected)
    right = (got > 0) == (expected.unpack(np.int8) > 0)
    if len(votes) % 2 == 0:  # ties are drawn at random
        right |= ec.majority(votes, "minus").unpack(np.int8) != ec.majority(votes, "plus").unpack(np.int8)
    if not right.all():
        raise AssertionError(f"naive way: wrong at {np.count_nonzero(~right)} of {right.size} places")


def _packed(signs: np.ndarray) -> ec.PackedSigns:
    """Pack ``(n, d)`` floats, int8 signs or booleans."""
    if signs.dtype.kind == "f":
        return ec.pack(signs)
    rows = [reference.to_words(row > 0) for row in signs]
    return ec.PackedSigns(np.array(rows), signs.shape[1])


def _unpack_vote32(n: int, d: int) -> Callable[[Pool], Bound]:
    m = -(-d // 32)

    def make(pool: Pool) -> Bound:
        import torch

        if 12 * n * 32 * m > pool.limit:  # it holds three int32 per vote
            raise TooLarge(f"needs {12 * n * 32 * m / 2**30:.1f} GiB")
        slots = pool.slots("bits", n * 4 * m)
        words = slots.arrays(np.int32, (n, m))

        def check() -> None:
            columns = max(min(m, 1 << 11), 1)
            shifts = np.arange(31, -1, -1).reshape(32, 1)
            negative = ((words[0][:, None, :columns] >> shifts) & 1).astype(bool)
            winner = ec.majority(_packed(~negative.reshape(n, -1)))
            expected = naive.words32(winner.unpack(np.int8) < 0)
            equal("32-bit words", naive.unpack_vote32(torch.from_numpy(words[0][:, :columns].copy())), expected)

        tensors = [torch.from_numpy(w) for w in words]
        return Bound(lambda: naive.unpack_vote32(tensors[slots.next()]), check)

    return make


def _majority(n: int, d: int) -> Case:
    def float64(signs: np.ndarray) -> Any:
        return naive.float64_sum(list(signs))

    others = [
        Way("naive", "torch.sign(G).sum(0).sign()", on_signs("float32", n, d, naive.sign_sum_sign), "torch"),
        Way("naive", "torch S.sum(0).sign()", on_signs("signs-float32", n, d, naive.sum_sign), "torch"),
        Way("naive", "float64 votes, summed", on_signs("signs-float64", n, d, float64), "", slow=True),
        Way("naive", "torch.mode", on_signs("booleans", n, d, naive.mode), "torch", slow=True),
        Way("naive", "32-bit words, unpacked", _unpack_vote32(n, d), "torch", slow=True),
    ]
    if n < 128:
        others.insert(2, Way("naive", "numpy int8 sum", on_signs("signs-int8", n, d, naive.int8_sum), ""))
    ways = (Way("electioncode", "majority", plain_majority(n, d, {})), read("bits", row_bytes(n, d)), *others)
    return Case("majority", n, d, "packed", row_bytes(n, d), "n d/8", ways, goal=0.8, show_slow=n == 15)


def _from_gradients(n: int, d: int) -> Case:
    def ours(pool: Pool) -> Bound:
        slots = pool.slots("float32", 4 * n * d)
        xs = slots.arrays(np.float32, (n, d))
        packed = ec.pack(xs[0])
        out = ec.majority(packed)

        def vote(i: int) -> ec.PackedSigns:
            return ec.majority(ec.pack(xs[i], out=packed), out=out)

        def check() -> None:
            winner = vote(0).numpy()[0]
            for w in windows(d):
                expected = reference.to_words(np.sign(xs[0][:, w]).sum(0) > 0)
                equal("pack, majority", winner[words_of(w)], expected)

        return Bound(lambda: vote(slots.next()), check)

    way = on_signs("float32", n, d, naive.sign_sum_sign)
    ways = (
        Way("electioncode", "pack, majority", ours),
        read("float32", 4 * n * d),
        Way("naive", "torch.sign(G).sum(0).sign()", way, "torch"),
    )
    return Case("pack + majority", n, d, "float32", 4 * n * d, "4 n d", ways)


def _variant(operation: str, n: int, d: int, policies: dict[str, Any]) -> Case:
    if "weights" in policies:

        def way(signs: Any) -> Any:
            import torch

            return naive.weighted_sum_sign(signs, torch.tensor(policies["weights"], dtype=torch.float32))

        weighted = on_signs("signs-float32", n, d, way, _weighted(policies))
        other = Way("naive", "torch (w @ S).sign()", weighted, "torch")
    else:
        random = on_signs("signs-float32", n, d, naive.random_tie_sum_sign)
        other = Way("naive", "torch sum, where, randint", random, "torch")
    ways = (
        Way("electioncode", operation, plain_majority(n, d, policies)),
        Way("part", "plain majority", plain_majority(n, d, {})),
        read("bits", row_bytes(n, d)),
        other,
    )
    return Case(operation, n, d, "packed", row_bytes(n, d), "n d/8", ways)


def _weighted(policies: dict[str, Any]) -> Callable[[ec.PackedSigns], Any]:
    def expect(votes: ec.PackedSigns) -> np.ndarray:  # a weighted sum can be 0 where n is odd
        return np.sign(policies["weights"].astype(np.float32) @ votes.unpack(np.float32))

    return expect


def _masked(n: int, d: int) -> Case:
    row, nbytes = 8 * words_for(d), 2 * row_bytes(n, d)

    def ours(pool: Pool) -> Bound:
        slots = pool.slots(f"bits masked {n}", nbytes)
        votes = []
        for planes in slots.arrays(np.uint64, (2, n, row // 8)):
            as_votes(planes.reshape(2 * n, -1), d)
            planes[0] &= planes[1]
            votes.append(ec.PackedSigns(planes[0], d, planes[1]))
        out = ec.majority(votes[0])

        return Bound(
            lambda: ec.majority(votes[slots.next()], out=out),
            lambda: check_majority(votes[0], ec.majority(votes[0], out=out)),
        )

    ways = (
        Way("electioncode", "majority, masks", ours),
        Way("part", "plain majority", plain_majority(n, d, {}), nbytes=row_bytes(n, d)),
        read(f"bits masked {n}", nbytes),
    )
    return Case("majority, masks", n, d, "packed", nbytes, "2 n d/8", ways)


def _small(n: int, d: int) -> Case:
    """Return a vote in the cache, of microseconds: what Python costs, and what the vote costs."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d), dtype=np.float32)

    def votes() -> tuple[ec.PackedSigns, ec.PackedSigns]:
        packed = ec.pack(x)
        return packed, ec.majority(packed)

    def timed(call: Callable[[ec.PackedSigns, ec.PackedSigns], Callable[[], Any]]) -> Callable[[Pool], Bound]:
        def make(pool: Pool) -> Bound:
            packed, out = votes()
            do = call(packed, out)

            def check() -> None:
                out.words[:] = 0
                got = do()
                check_majority(packed, got if isinstance(got, ec.PackedSigns) else out)

            return Bound(do, check)

        return make

    def native(packed: ec.PackedSigns, out: ec.PackedSigns) -> Callable[[], Any]:
        return lambda: cpu.majority(packed.words, None, None, d, 0, 0, 0, 0, out.words, None, False)

    def rows(packed: ec.PackedSigns, out: ec.PackedSigns) -> Callable[[], Any]:
        held = [packed[i] for i in range(n)]
        return lambda: ec.majority(held, out=out)

    def nothing(pool: Pool) -> Bound:
        return Bound(cpu.num_threads, lambda: None)

    def torch_way(way: Callable[[Any], Any], data: np.ndarray) -> Callable[[Pool], Bound]:
        def make(pool: Pool) -> Bound:
            import torch

            tensor = torch.from_numpy(data)
            expected = np.where(reference.scores(votes()[0].words, d) > 0, 1, -1)
            return Bound(lambda: way(tensor), lambda: equal("naive way", way(tensor), expected.astype(np.float32)))

        return make

    int8 = np.sign(x).astype(np.int8)
    winner = np.sign(int8.sum(0)).astype(np.int8)
    ways = [
        Way("electioncode", "majority(votes, out=)", timed(lambda p, o: lambda: ec.majority(p, out=o))),
        Way("part", "majority(votes)", timed(lambda p, o: lambda: ec.majority(p))),
        Way("part", "majority of n PackedSigns (d,)", timed(rows)),
        Way("part", "native call alone", timed(native)),
        Way("part", "a native call that does nothing", nothing),
        Way(
            "naive",
            "numpy int8 sum",
            lambda pool: Bound(lambda: naive.int8_sum(int8), lambda: equal("int8", naive.int8_sum(int8), winner)),
            "",
        ),
        Way("naive", "torch.sign(G).sum(0).sign()", torch_way(naive.sign_sum_sign, x), "torch"),
        Way("naive", "torch S.sum(0).sign()", torch_way(naive.sum_sign, np.sign(x)), "torch"),
    ]
    return Case("small majority", n, d, "packed", row_bytes(n, d), "n d/8", tuple(ways), ceiling="", loops=500)
