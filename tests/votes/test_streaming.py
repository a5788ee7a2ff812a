"""Results too large for the cache take another way to memory: the same bits, and not a byte beside them."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from guard import guarded

import electioncode as ec
from electioncode import reference
from electioncode.core import words_for

DIRT = 0xDEADBEEFDEADBEEF
D = 8 * (1 << 20) + 777  # a megabyte of words, from where on results are streamed, and an incomplete word


class Place:
    """Words `offset` words behind the start of a line of the cache, dirty and with dirt on both sides."""

    def __init__(self, words: int, offset: int) -> None:
        self.memory = guarded(8 * (words + 16), True).view(np.uint64)
        self.memory[:] = DIRT
        first = (-self.memory.ctypes.data // 8) % 8 + offset
        self.words = self.memory[first : first + words]
        self.beside = [self.memory[:first], self.memory[first + words :]]

    def untouched(self) -> bool:
        return all((part == np.uint64(DIRT)).all() for part in self.beside)


def some_votes(rng: np.random.Generator, rows: int, d: int) -> ec.PackedSigns:
    words = rng.integers(0, 2**64, size=(rows, words_for(d)), dtype=np.uint64)
    words[:, -1] &= np.uint64((1 << d % 64) - 1)
    return ec.PackedSigns(words, d)


@pytest.mark.parametrize("offset", [0, 3, 7])
@pytest.mark.parametrize("tie", ["plus", "random", "abstain"])
def test_majority_of_4(isa, rng, offset, tie):
    votes = some_votes(rng, 4, D)
    out, mask = Place(words_for(D), offset), Place(words_for(D), offset)
    target = ec.PackedSigns(out.words, D, mask.words if tie == "abstain" else None)
    ec.majority(votes, tie, seed=1, step=2, out=target)
    a, b, c, e = votes.words
    more = (a & b & (c | e)) | (c & e & (a | b))
    half = (a & b) | ((a | b) & (c | e)) | (c & e)
    if tie == "random":
        drawn = reference.random_words(words_for(D), 1, 2, stream=0, purpose=0)
    else:
        drawn = np.uint64(0 if tie == "abstain" else 2**64 - 1)
    np.testing.assert_array_equal(out.words, more | (half & drawn))
    if tie == "abstain":
        voted = ~(half & ~more)
        voted[-1] &= np.uint64((1 << D % 64) - 1)
        np.testing.assert_array_equal(mask.words, voted)
    assert out.untouched() and mask.untouched()


@pytest.mark.parametrize("n", [3, 17, 65])
def test_majority_of_equal_rows(isa, threads, rng, n):
    """n copies of two votes, one of them once more than the other: it wins."""
    votes = some_votes(rng, 2, D)
    out = Place(words_for(D), 5)
    rows = [ec.PackedSigns(votes.words[i % 2], D) for i in range(n)]
    ec.majority(rows, out=ec.PackedSigns(out.words, D))
    np.testing.assert_array_equal(out.words, votes.words[0])
    assert out.untouched()


@pytest.mark.parametrize("offset", [0, 1, 6])
@pytest.mark.parametrize("code", [ec.bernoulli(15, 3.0), ec.cyclic(33, 21), ec.repetition(9, 3)], ids=lambda c: c.name)
def test_local_majorities(isa, threads, rng, code, offset):
    d = 8 * (1 << 20) // code.num_workers + 5
    votes = some_votes(rng, code.num_partitions, d)
    place = Place(code.num_workers * words_for(d), offset)
    out = place.words.reshape(code.num_workers, -1)
    ec.local_majorities(votes, code, out=ec.PackedSigns(out, d))
    for worker in range(code.num_workers):
        held = [ec.PackedSigns(votes.words[p], d) for p in code.partitions(worker)]
        np.testing.assert_array_equal(out[worker], ec.majority(held).words)
    assert place.untouched()


@pytest.mark.parametrize("offset", [0, 3, 7])
@pytest.mark.parametrize("dtype", [np.int8, np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("masked", [False, True])
def test_unpack(isa, threads, rng, dtype, offset, masked):
    size = np.dtype(dtype).itemsize
    d = (1 << 20) // size + 333
    votes = some_votes(rng, 2, d)
    mask = votes.words[1] if masked else None
    place = Place(d * size // 8 + 1, offset)
    out = place.words.view(np.uint8)[: d * size].view(dtype)
    signs = votes.words[0] & mask if masked else votes.words[0]
    ec.PackedSigns(signs, d, mask).unpack(out=out)
    np.testing.assert_array_equal(out, reference.unpack(signs, d, mask, dtype))
    assert place.untouched()
