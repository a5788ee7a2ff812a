"""Cases on floats: pack, unpack, momentum + pack, update, a whole Signum step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import electioncode as ec
from electioncode import reference
from electioncode.core import cpu, words_for
from electioncode.lab.bench import naive
from electioncode.lab.bench.case import Bound, Case, Way, copy, equal, read, rewrite
from electioncode.lab.bench.pool import LINE, Pool, Slots
from electioncode.lab.machine import have


def _resnet18_shapes() -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = [(64, 3, 3, 3), (64,), (64,)]
    widths = (64, 64, 64, 128, 128, 256, 256, 512, 512)
    for before, width in itertools.pairwise(widths):
        norm = [(width,), (width,)]
        shapes += [(width, before, 3, 3), *norm, (width, width, 3, 3), *norm]
        if before != width:
            shapes += [(width, before, 1, 1), *norm]
    return [*shapes, (10, 512), (10,)]


# The parameters of the paper's ResNet-18, `training.models.build("resnet18", (3, 32, 32), 10)`, as a list that needs no
# torch: a test compares the two.
RESNET18_SHAPES = _resnet18_shapes()
RESNET18_COORDINATES = sum(map(math.prod, RESNET18_SHAPES))


def tensor_sizes(d: int) -> list[int]:
    """Return 62 sizes in the proportions of ResNet-18 that sum to d (at least 62)."""
    sizes = [math.prod(shape) for shape in RESNET18_SHAPES]
    if d != sum(sizes):
        total = sum(sizes)
        sizes = [1 + size * (d - len(sizes)) // total for size in sizes]
        sizes[sizes.index(max(sizes))] += d - sum(sizes)
    return sizes


def windows(d: int, most: int = 1 << 16) -> list[slice]:
    """Return the coordinates to compare with the reference: all, or the first `most` and the last few words."""
    return [slice(0, d)] if d <= most else [slice(0, most), slice(d // 64 * 64 - 640, d)]


def words_of(window: slice) -> slice:
    """Return the words of a window of coordinates."""
    return slice(window.start // 64, words_for(window.stop))


def float_cases(d: int) -> list[Case]:
    """Return the cases on floats at d coordinates."""
    dtypes = ["float32", *(["bfloat16"] if have("torch") else []), "float16", "float64"]
    return [
        *(_pack(d, t) for t in dtypes),
        _unpack(d),
        _momentum(d),
        _update(d),
        *([_signum(d), _small_step()] if have("torch") else []),
    ]


def _floats(slots: Slots, d: int, dtype: str) -> list[Any]:
    if dtype != "bfloat16":
        return slots.arrays(dtype, (d,))
    import torch

    return [torch.from_numpy(bits).view(torch.bfloat16) for bits in slots.arrays(np.int16, (d,))]


def _pack(d: int, dtype: str) -> Case:
    nbytes = d * {"float64": 8, "float32": 4}.get(dtype, 2)

    def ours(pool: Pool) -> Bound:
        slots = pool.slots(dtype, nbytes)
        xs = _floats(slots, d, dtype)
        out = ec.pack(xs[0])

        def check() -> None:
            words = ec.pack(xs[0], out=out).numpy()[0]
            for w in windows(d):
                x = xs[0][w].float().numpy() if dtype == "bfloat16" else xs[0][w]
                equal("pack", words[words_of(w)], reference.pack(x)[0])

        return Bound(lambda: ec.pack(xs[slots.next()], out=out), check)

    def packbits(pool: Pool) -> Bound:
        slots = pool.slots(dtype, nbytes)
        xs = _floats(slots, d, dtype)

        def check() -> None:
            expected = ec.pack(xs[0]).numpy()[0].view(np.uint8)
            equal("packbits", naive.packbits(xs[0]), expected[: -(-d // 8)])

        return Bound(lambda: naive.packbits(xs[slots.next()]), check)

    ways = (Way("electioncode", "pack", ours), read(dtype, nbytes), Way("naive", "np.packbits(x >= 0)", packbits, ""))
    return Case("pack", 1, d, dtype, nbytes, f"{nbytes // d} d", ways, goal=0.9)


def _unpack(d: int) -> Case:
    row = 8 * words_for(d)
    nbytes = 4 * d + d // 8

    def ours(pool: Pool) -> Bound:
        votes, outs = pool.slots("bits", row), pool.slots("zeros out", 4 * d)
        packed = [as_votes(w, d) for w in votes.arrays(np.uint64, (words_for(d),))]
        xs = outs.arrays(np.float32, (d,))

        def check() -> None:
            packed[0].unpack(out=xs[0])
            for w in windows(d):
                equal("unpack", xs[0][w], reference.unpack(packed[0].words[words_of(w)], w.stop - w.start))

        return Bound(lambda: packed[votes.next()].unpack(out=xs[outs.next()]), check)

    def unpackbits(pool: Pool) -> Bound:
        votes = pool.slots("bits", row)
        data = votes.arrays(np.uint8, (row,))

        def check() -> None:
            expected = as_votes(data[0].view(np.uint64), d).unpack()
            equal("unpackbits", naive.unpackbits(data[0], d), expected)

        return Bound(lambda: naive.unpackbits(data[votes.next()], d), check)

    ways = (Way("electioncode", "unpack", ours), copy(nbytes), Way("naive", "np.unpackbits * 2 - 1", unpackbits, ""))
    return Case("unpack", 1, d, "float32", nbytes, "4.125 d", ways, ceiling="copy")


def as_votes(words: np.ndarray, d: int) -> ec.PackedSigns:
    """Return words of the pool as votes, their padding bits set to 0."""
    if d % 64:
        words[..., -1] &= np.uint64((1 << d % 64) - 1)
    return ec.PackedSigns(words, d)


class _Model:
    """The gradients, momenta or parameters, as asked for, of every slot: each a list of 62 flat float32 arrays."""

    def __init__(self, pool: Pool, d: int, *tags: str) -> None:
        self.sizes = tensor_sizes(d)
        starts = np.cumsum([0] + [-(-4 * size // LINE) * LINE for size in self.sizes])
        slots = [pool.slots(f"float32 {tag}", int(starts[-1]), len(tags)) for tag in tags]
        lists = {
            tag: [
                [slot[a : a + 4 * n].view(np.float32) for a, n in zip(starts[:-1], self.sizes, strict=True)]
                for slot in s.bytes
            ]
            for tag, s in zip(tags, slots, strict=True)
        }
        self.gradients, self.momenta, self.params = (lists.get(t, []) for t in ("gradients", "momenta", "parameters"))
        self.slots = slots[0]
        self.first = np.cumsum([0] + [words_for(size) for size in self.sizes])
        self.words = np.zeros(int(self.first[-1]), dtype=np.uint64)

    def pack(self, slot: int) -> bool:
        g, v, beta = self.gradients[slot], self.momenta[slot], naive.MOMENTUM
        return cpu.pack_tensors(g, v, beta, 1 - beta, False, self.words, None, 0, 0, 0, 0, 0, 0)

    def signs(self, i: int) -> np.ndarray:
        return self.words[self.first[i] : self.first[i + 1]]


def _almost(what: str, got: list[Any], expected: list[Any]) -> None:
    """Raise AssertionError unless nearly all values are close: torch fuses multiply and add, this package does not."""
    pairs = list(zip(map(np.asarray, got), map(np.asarray, expected), strict=True))
    wrong = sum(int(np.count_nonzero(~np.isclose(a, b, rtol=1e-5, atol=1e-6))) for a, b in pairs)
    size = sum(a.size for a, _ in pairs)
    if wrong > 1e-5 * size:
        raise AssertionError(f"{what}: {wrong} of {size} values differ")


def _momentum(d: int) -> Case:
    nbytes = 12 * d + d // 8

    def ours(pool: Pool) -> Bound:
        m = _Model(pool, d, "gradients", "momenta")

        def check() -> None:
            before = [v.copy() for v in m.momenta[0]]
            m.pack(0)
            for i, (g, v) in enumerate(zip(m.gradients[0], before, strict=True)):
                for w in windows(g.size):
                    expected = reference.momentum(v[w], g[w], naive.MOMENTUM)
                    equal("momentum", m.momenta[0][i][w], expected)
                    equal("momentum + pack", m.signs(i)[words_of(w)], reference.pack(expected)[0])

        return Bound(lambda: m.pack(m.slots.next()), check)

    def torch_packbits(pool: Pool) -> Bound:
        m = _Model(pool, d, "gradients", "momenta")
        g, v = _tensors(m.gradients), _tensors(m.momenta)

        def check() -> None:
            before = [x.clone() for x in v[0]]
            m.pack(0)
            got = naive.momentum_packbits(g[0], before)
            _almost("torch momentum", before, m.momenta[0])
            ours = [m.signs(i).view(np.uint8)[: bits.size] for i, bits in enumerate(got)]
            _almost("torch momentum + np.packbits", got, ours)

        def call() -> Any:
            i = m.slots.next()
            return naive.momentum_packbits(g[i], v[i])

        return Bound(call, check)

    ways = (
        Way("electioncode", "momentum + pack", ours),
        rewrite(nbytes),
        copy(nbytes),
        Way("naive", "torch mul_, add_, np.packbits", torch_packbits, "torch"),
    )
    return Case("momentum + pack, 62 tensors", 1, d, "float32", nbytes, "12.125 d", ways, "rewrite", 0.85)


def _tensors(arrays: list[list[np.ndarray]]) -> list[list[Any]]:
    import torch

    return [[torch.from_numpy(a) for a in slot] for slot in arrays]


def _update(d: int) -> Case:
    nbytes = 8 * d + d // 8
    decay = 1 - naive.LR * naive.WEIGHT_DECAY

    def setup(pool: Pool) -> tuple[_Model, Callable[[int], None]]:
        m = _Model(pool, d, "parameters")
        m.words[:] = np.random.default_rng(0).integers(0, 2**64, m.words.size, dtype=np.uint64)
        for i, size in enumerate(m.sizes):
            as_votes(m.signs(i), size)
        return m, lambda slot: cpu.update_tensors(m.params[slot], m.words, None, decay, -naive.LR)

    def ours(pool: Pool) -> Bound:
        m, update = setup(pool)

        def check() -> None:
            before = [p.copy() for p in m.params[0]]
            update(0)
            for i, p in enumerate(before):
                for w in windows(p.size):
                    signs = reference.unpack(m.signs(i)[words_of(w)], w.stop - w.start)
                    expected = reference.update(p[w], signs, naive.LR, naive.WEIGHT_DECAY)
                    equal("update", m.params[0][i][w], expected)

        return Bound(lambda: update(m.slots.next()), check)

    def torch_unpackbits(pool: Pool) -> Bound:
        m, update = setup(pool)
        params = _tensors(m.params)
        votes = [m.signs(i).view(np.uint8) for i in range(len(m.sizes))]

        def check() -> None:
            before = [p.clone() for p in params[0]]
            update(0)
            naive.unpackbits_update(before, votes)
            _almost("np.unpackbits + torch update", before, m.params[0])

        return Bound(lambda: naive.unpackbits_update(params[m.slots.next()], votes), check)

    ways = (
        Way("electioncode", "unpack + update", ours),
        rewrite(nbytes),
        copy(nbytes),
        Way("naive", "np.unpackbits, torch mul_, add_", torch_unpackbits, "torch"),
    )
    return Case("unpack + update, 62 tensors", 1, d, "float32", nbytes, "8.125 d", ways, "rewrite", 0.85)


def _signum(d: int) -> Case:
    nbytes = 20 * d + d // 4

    def ours(pool: Pool) -> Bound:
        import torch

        m = _Model(pool, d, "gradients", "momenta", "parameters")
        optimizers = []
        for slot in zip(_tensors(m.params), _tensors(m.gradients), _tensors(m.momenta), strict=True):
            params = []
            for p, g, _ in zip(*slot, strict=True):
                params.append(torch.nn.Parameter(p))
                params[-1].grad = g
            optimizer = ec.Signum(params, naive.LR, naive.MOMENTUM, naive.WEIGHT_DECAY)
            for p, v in zip(params, slot[2], strict=True):
                optimizer.state[p]["momentum_buffer"] = v
            optimizers.append(optimizer)

        def check() -> None:
            momenta, params = [v.copy() for v in m.momenta[0]], [p.copy() for p in m.params[0]]
            optimizers[0].step()
            for i, g in enumerate(m.gradients[0]):
                for w in windows(g.size):
                    v = reference.momentum(momenta[i][w], g[w], naive.MOMENTUM)
                    p = reference.update(params[i][w], np.sign(v), naive.LR, naive.WEIGHT_DECAY)
                    equal("Signum's momentum", m.momenta[0][i][w], v)
                    equal("Signum's parameters", m.params[0][i][w], p)

        return Bound(lambda: optimizers[m.slots.next()].step(), check)

    def torch_step(step: Callable[..., None]) -> Callable[[Pool], Bound]:
        def make(pool: Pool) -> Bound:
            m = _Model(pool, d, "gradients", "momenta", "parameters")
            all_p, all_g, all_v = _tensors(m.params), _tensors(m.gradients), _tensors(m.momenta)

            def check() -> None:
                params, momenta = [p.clone() for p in all_p[0]], [v.clone() for v in all_v[0]]
                step(params, all_g[0], momenta)
                for i, size in enumerate(m.sizes):
                    for w in windows(size):
                        v = reference.momentum(m.momenta[0][i][w], m.gradients[0][i][w], naive.MOMENTUM)
                        changed = reference.update(m.params[0][i][w], np.sign(v), naive.LR, naive.WEIGHT_DECAY)
                        _almost("torch momentum", [momenta[i][w]], [v])
                        _almost("torch Signum", [params[i][w]], [changed])

            def call() -> None:
                i = m.slots.next()
                step(all_p[i], all_g[i], all_v[i])

            return Bound(call, check)

        return make

    ways = (
        Way("electioncode", "Signum.step", ours),
        rewrite(nbytes, 3),
        Way("naive", "torch, tensor by tensor", torch_step(naive.signum_step), "torch"),
        Way("naive", "torch, foreach", torch_step(naive.signum_foreach), "torch"),
    )
    return Case("Signum step, 62 tensors", 1, d, "float32", nbytes, "20.25 d", ways, "rewrite")


def _small_step() -> Case:
    """Return a Signum step on 62 tensors of 10 elements: the cost of Python."""
    count, size = 62, 10

    def tensors() -> list[list[Any]]:
        import torch

        generator = torch.Generator().manual_seed(0)
        return [[torch.randn(size, generator=generator) for _ in range(count)] for _ in range(3)]

    def ours(pool: Pool) -> Bound:
        import torch

        (params, gradients, momenta), (p, g, v) = tensors(), tensors()
        optimizer = ec.Signum(list(map(torch.nn.Parameter, params)), naive.LR, naive.MOMENTUM, naive.WEIGHT_DECAY)
        for parameter, gradient, momentum in zip(optimizer.param_groups[0]["params"], gradients, momenta, strict=True):
            parameter.grad, optimizer.state[parameter]["momentum_buffer"] = gradient, momentum

        def check() -> None:
            optimizer.step()
            naive.signum_step(p, g, v)
            _almost("Signum", [*params, *momenta], [*p, *v])

        return Bound(optimizer.step, check)

    def torch_step(pool: Pool) -> Bound:
        mine, other = tensors(), tensors()

        def check() -> None:
            naive.signum_foreach(*mine)
            naive.signum_step(*other)
            _almost("foreach", [*mine[0], *mine[2]], [*other[0], *other[2]])

        return Bound(lambda: naive.signum_foreach(*mine), check)

    ways = (
        Way("electioncode", "Signum.step", ours),
        Way("naive", "torch, foreach, without an optimizer", torch_step, "torch"),
    )
    d = count * size
    return Case("small Signum step, 62 tensors", 1, d, "float32", 20 * d, "20 d", ways, ceiling="", loops=50)
