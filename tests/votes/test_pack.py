"""pack and unpack equal the reference bit for bit: dtypes, policies, lengths, alignment, strides, dirty outputs."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import electioncode as ec
from electioncode import reference

DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
LENGTHS = [0, 1, 2, 7, 8, 31, 32, 33, 63, 64, 65, 127, 128, 129, 511, 512, 513, 1023, 1024, 1025, 4095, 4097]
ZEROS = ["plus", "minus", "random", "abstain"]
NANS = ["raise", "minus", "abstain"]


def specials(dtype) -> np.ndarray:
    """Values at which a sign is easily got wrong: zeros, subnormals, infinities, extremes."""
    info = ml_dtypes.finfo(dtype)
    tiny = np.array(info.smallest_subnormal, dtype=dtype)
    values = [0.0, -0.0, tiny, -tiny, info.tiny, -info.tiny, 1.0, -1.0, info.max, -info.max, np.inf, -np.inf]
    return np.array(values, dtype=dtype)


def example(rng, d, dtype, nan=False) -> np.ndarray:
    x = rng.standard_normal(d).astype(dtype)
    pick = rng.random(d)
    values = specials(dtype)
    x[pick < 0.4] = values[rng.integers(0, len(values), int((pick < 0.4).sum()))]
    if nan:
        x[pick > 0.9] = np.nan
        x[pick > 0.95] = -x[pick > 0.95]  # NaN with its sign bit set
    return x


def assert_packed(votes, expected):
    words, mask = expected
    np.testing.assert_array_equal(votes.words, words)
    assert (votes.mask is None) == (mask is None)
    if mask is not None:
        np.testing.assert_array_equal(votes.mask, mask)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda t: np.dtype(t).name)
@pytest.mark.parametrize("nan", NANS)
@pytest.mark.parametrize("zero", ZEROS)
def test_pack_equals_reference(isa, rng, dtype, zero, nan):
    for d in LENGTHS:
        x = example(rng, d, dtype, nan != "raise")
        votes = ec.pack(x, zero, nan, seed=5, step=7, stream=11)
        assert_packed(votes, reference.pack(x, zero, nan, 5, 7, 11))


def test_layout_is_packbits_little(isa, rng):
    x = rng.standard_normal(1000).astype(np.float32)
    packed = np.packbits(x >= 0, bitorder="little")
    words = ec.pack(x).words
    assert words.dtype == np.uint64
    assert words.tobytes() == packed.tobytes() + bytes(-len(packed) % 8)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda t: np.dtype(t).name)
def test_misaligned_and_strided_input(isa, rng, dtype):
    for d in (1, 63, 64, 65, 513):
        x = example(rng, d, dtype)
        expected = reference.pack(x)
        raw = np.zeros(x.nbytes + 16, dtype=np.uint8)
        for offset in range(1, 9):
            raw[offset : offset + x.nbytes] = x.view(np.uint8)
            misaligned = raw[offset : offset + x.nbytes].view(dtype)
            assert_packed(ec.pack(misaligned), expected)
        wide = np.zeros((d, 3), dtype=dtype)
        wide[:, 1] = x
        assert_packed(ec.pack(wide[:, 1]), expected)
        assert_packed(ec.pack(x[::-1]), reference.pack(x[::-1].copy()))


def test_rows(isa, threads, rng):
    x = example(rng, 7 * 3000, np.float32).reshape(7, 3000)
    votes = ec.pack(x, "random", seed=1, step=2, stream=3)
    assert votes.shape == (7, 3000)
    for i in range(7):  # row i draws from stream + i
        assert_packed(votes[i], reference.pack(x[i], "random", "raise", 1, 2, 3 + i))
    for view in (
        x[:, 5:],
        x[::2],
        x[::-1],
        x[:, ::3],
        np.asfortranarray(x),
        np.broadcast_to(x[0], (4, 3000)),
    ):
        assert_packed(ec.pack(view), (np.stack([reference.pack(row)[0] for row in view]), None))


def test_big_endian_input(rng):
    x = rng.standard_normal(100).astype(">f4")
    assert_packed(ec.pack(x), reference.pack(x))


def test_dirty_output_is_overwritten(isa, rng):
    for d in (1, 64, 100, 513):
        x = example(rng, d, np.float32)
        dirty = rng.integers(0, 2**64, (2, (d + 63) // 64), dtype=np.uint64)
        out = ec.PackedSigns(dirty[0], d, dirty[1])
        assert ec.pack(x, "abstain", out=out) is out
        assert_packed(out, reference.pack(x, "abstain"))


def test_many_threads_equal_one(rng):
    x = example(rng, 3_000_001, np.float32)
    ec.set_num_threads(1)
    one = [ec.pack(x, zero, seed=3) for zero in ZEROS]
    for n in (2, 3, 7):
        ec.set_num_threads(n)
        assert [ec.pack(x, zero, seed=3) for zero in ZEROS] == one
    ec.set_num_threads(None)


@pytest.mark.parametrize("dtype", [*DTYPES, np.int8], ids=lambda t: np.dtype(t).name)
def test_unpack_equals_reference(isa, rng, dtype):
    for d in LENGTHS:
        for zero in ("plus", "abstain"):
            votes = ec.pack(example(rng, d, np.float32), zero)
            out = np.full(d, 7, dtype=dtype)
            assert votes.unpack(out=out) is out
            np.testing.assert_array_equal(out, reference.unpack(votes.words, d, votes.mask, dtype))
            assert votes.unpack(dtype).dtype == dtype
            assert votes.unpack().dtype == np.float32


@settings(max_examples=150, deadline=None)
@given(
    x=hnp.arrays(np.float32, st.integers(0, 300), elements=st.floats(width=32, allow_nan=False)),
    zero=st.sampled_from(ZEROS),
    seed=st.integers(0, 2**32 - 1),
)
def test_round_trip(x, zero, seed):
    votes = ec.pack(x, zero, seed=seed)
    signs = votes.unpack()
    np.testing.assert_array_equal(signs[x > 0], 1)
    np.testing.assert_array_equal(signs[x < 0], -1)
    assert_packed(votes, reference.pack(x, zero, "raise", seed))
    if zero != "random":
        np.testing.assert_array_equal(signs[x == 0], {"plus": 1, "minus": -1, "abstain": 0}[zero])
    assert ec.pack(signs, zero, seed=seed) == votes or zero == "random"


def test_flush_to_zero_does_not_change_a_vote():
    torch = pytest.importorskip("torch")
    x = np.array([-1e-45, 1e-45], dtype=np.float32)  # subnormal
    supported = torch.set_flush_denormal(True)
    try:
        assert ec.pack(x, "minus").unpack().tolist() == [-1, 1]
        assert ec.pack(x, "plus").unpack().tolist() == [-1, 1]
    finally:
        torch.set_flush_denormal(False)
    assert supported


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: ec.pack(np.zeros(3), "up"),
            ValueError,
            "zero must be one of 'plus', 'minus', 'random', 'abstain'",
        ),
        (
            lambda: ec.pack(np.zeros(3), nan="up"),
            ValueError,
            "nan must be one of 'raise', 'minus', 'abstain'",
        ),
        (lambda: ec.pack(np.array([1.0, np.nan])), ValueError, "x has NaN"),
        (lambda: ec.pack(np.array([1.0, np.nan]), "abstain"), ValueError, "x has NaN"),
        (lambda: ec.pack(np.zeros(3, dtype=np.int32)), TypeError, "got int32"),
        (lambda: ec.pack(np.zeros(3, dtype=complex)), TypeError, "got complex128"),
        (lambda: ec.pack([1.0, 2.0]), TypeError, "NumPy array or a torch tensor, got list"),
        (lambda: ec.pack(np.zeros((2, 2, 2))), ValueError, r"\(d,\) or \(n, d\), got \(2, 2, 2\)"),
        (lambda: ec.pack(np.float32(1)), TypeError, "got float32"),
        (lambda: ec.pack(np.zeros(3), seed=2**32), ValueError, r"seed must be from 0 to 2\*\*32 - 1"),
        (lambda: ec.pack(np.zeros(3), step=-1), ValueError, r"step must be from 0 to 2\*\*32 - 1, got -1"),
        (lambda: ec.pack(np.zeros(3), out=ec.pack(np.zeros(4))), ValueError, r"shape \(3,\), got \(4,\)"),
        (lambda: ec.pack(np.zeros(3), "abstain", out=ec.pack(np.zeros(3))), ValueError, "a mask"),
        (lambda: ec.pack(np.zeros(3)).unpack(np.int32), TypeError, "got int32"),
        (lambda: ec.pack(np.zeros(3)).unpack(out=np.zeros(4)), ValueError, r"\(3,\), got \(4,\)"),
        (
            lambda: ec.PackedSigns(np.zeros(2, dtype=np.uint64), 64),
            ValueError,
            r"\(1,\) or \(n, 1\) for d = 64",
        ),
        (lambda: ec.PackedSigns(np.zeros(2, dtype=np.int64), 128), TypeError, "uint64"),
        (lambda: ec.PackedSigns(np.zeros(0, dtype=np.uint64), -1), ValueError, "at least 0"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_output_must_be_writeable_and_contiguous(rng):
    x = rng.standard_normal(200)
    words = np.zeros(8, dtype=np.uint64)
    for bad in (words[::2], np.frombuffer(bytes(32), dtype=np.uint64)):
        with pytest.raises(ValueError, match="out must be writeable, aligned and contiguous"):
            ec.pack(x, out=ec.PackedSigns(bad, 200))
