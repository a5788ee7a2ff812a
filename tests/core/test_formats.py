"""Numbers of 16 bits: every instruction set and the CUDA kernels store the same ones, NaNs included."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from electioncode.core import cpu

FLOAT16, BFLOAT16 = 0, 1
NAN = {FLOAT16: 0x7E00, BFLOAT16: 0x7FC0}
INFINITY = {FLOAT16: 0x7C00, BFLOAT16: 0x7F80}
ISAS = [name for name, available in cpu.instruction_sets() if available]
WORD = np.uint64


def address(a):
    return 0 if a is None else a.ctypes.data


def random_words(d, seed):
    words = np.random.default_rng(seed).integers(0, 2**64, -(-d // 64), dtype=WORD)
    if d % 64:
        words[-1] &= WORD((1 << d % 64) - 1)
    return words


class Cpu:
    def __init__(self, isa):
        self.isa = isa

    def momentum(self, dtype, x, v, beta, weight, split):
        words = np.zeros(-(-x.size // 64), dtype=WORD)
        job = [(dtype, address(x), address(v), x.size)]
        cpu.pack_addresses(job, beta, weight, False, words, None, 0, 1, 0, 0, 0, 0, split)
        return words

    def update(self, dtype, p, words, mask, decay, step):
        cpu.update_addresses([(dtype, address(p), p.size)], words, mask, decay, step)

    def unpack(self, dtype, words, mask, d):
        out = np.zeros(d, dtype=np.float16 if dtype == FLOAT16 else np.uint16)
        cpu.unpack(words, mask, out)
        return out.view(np.uint16)


class EmulatedCuda:
    isa = ISAS[0]

    def __init__(self, module):
        self.module, self.queue = module, (0, 0, self.scratch)

    def scratch(self, nbytes):
        self.memory = np.zeros(nbytes // 16 + 1, dtype=np.complex128)
        return self.memory.ctypes.data

    def momentum(self, dtype, x, v, beta, weight, split):
        words = np.zeros(-(-x.size // 64), dtype=WORD)
        job = [(dtype, address(x), address(v), x.size, address(words), 0, 0, 0)]
        self.module.pack_tensors(job, beta, weight, False, 0, 1, 0, 0, 0, 0, split, *self.queue)
        return words

    def update(self, dtype, p, words, mask, decay, step):
        job = [(dtype, address(p), p.size, address(words), address(mask))]
        self.module.update_tensors(job, decay, step, *self.queue)

    def unpack(self, dtype, words, mask, d):
        out = np.zeros(d, dtype=np.uint16)
        self.module.unpack_tensors([(dtype, address(out), d, address(words), address(mask))], *self.queue)
        return out


def devices():
    found = [pytest.param(Cpu(isa), id=isa) for isa in ISAS]
    try:
        module = importlib.import_module("electioncode.core._cuda_emulated")
    except ImportError:
        return found
    return [*found, pytest.param(EmulatedCuda(module), id="emulated CUDA")]


@pytest.fixture(params=devices())
def device(request):
    before = cpu.instruction_set()
    cpu.set_instruction_set(request.param.isa)
    yield request.param
    cpu.set_instruction_set(before)


def all_bits():
    """Every number of 16 bits: every NaN, quiet and signalling, of both signs, among them. An odd tail besides."""
    return np.concatenate([np.arange(2**16), [0x7F01, 0xFF81, 0x7E00, 0xFFFF, 0x7C01]]).astype(np.uint16)


def is_nan(dtype, bits):
    return (bits & 0x7FFF) > INFINITY[dtype]


def from_bits(dtype, bits):
    if dtype == FLOAT16:
        return bits.view(np.float16).astype(np.float32)
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_bits(dtype, x):
    """Round to nearest even, any NaN to the one that is stored."""
    with np.errstate(over="ignore"):
        if dtype == FLOAT16:
            bits = x.astype(np.float16).view(np.uint16)
        else:
            u = x.view(np.uint32)
            bits = ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(x), np.uint16(NAN[dtype]), bits)


def rounded(dtype, x):
    return from_bits(dtype, to_bits(dtype, x))


def expected_momentum(dtype, x, v, beta, weight):
    with np.errstate(invalid="ignore", over="ignore"):
        a = rounded(dtype, np.float32(beta) * from_bits(dtype, v))
        return to_bits(dtype, a + rounded(dtype, np.float32(weight) * from_bits(dtype, x)))


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("split", [None, (0.99, 0.01)], ids=["momentum", "split"])
@pytest.mark.parametrize("weight", [0.1, -1.0])
def test_momentum(device, dtype, split, weight):
    bits = all_bits()
    for x, v in ((bits, bits[::-1].copy()), (np.roll(bits, 7), bits), (bits, np.roll(bits, -4096))):
        stored = v.copy()
        words = device.momentum(dtype, x, stored, 0.9, weight, split)
        signs = expected_momentum(dtype, x, v, 0.9, weight)
        np.testing.assert_array_equal(stored, expected_momentum(dtype, x, v, *split) if split else signs)
        assert set(stored[is_nan(dtype, stored)]) == {NAN[dtype]}
        votes = np.unpackbits(words.view(np.uint8), bitorder="little")[: x.size].astype(bool)
        np.testing.assert_array_equal(votes, (signs & 0x8000 == 0) & ~is_nan(dtype, signs) | (signs == 0x8000))


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize(
    ("masked", "decay", "step"),
    [(False, 0.999, -0.01), (False, 1.0, float("inf")), (True, 0.999, -0.01), (True, 1.0, 1.0)],
)
def test_update(device, dtype, masked, decay, step):
    p = all_bits()
    words, mask = random_words(p.size, 1), random_words(p.size, 2) if masked else None
    signs = np.unpackbits(words.view(np.uint8), bitorder="little")[: p.size].astype(np.float32) * 2 - 1
    if masked:
        signs[np.unpackbits(mask.view(np.uint8), bitorder="little")[: p.size] == 0] = 0
    with np.errstate(invalid="ignore", over="ignore"):
        change = rounded(dtype, np.full(1, step, dtype=np.float32)) * signs
        expected = to_bits(dtype, rounded(dtype, np.float32(decay) * from_bits(dtype, p)) + change)
    stored = p.copy()
    device.update(dtype, stored, words, mask, decay, step)
    np.testing.assert_array_equal(stored, expected)
    assert set(stored[is_nan(dtype, stored)]) == {NAN[dtype]}


@pytest.mark.parametrize("dtype", [FLOAT16, BFLOAT16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_unpack(device, dtype, masked):
    d = 1000
    words, mask = random_words(d, 1), random_words(d, 2) if masked else None
    one = 0x3C00 if dtype == FLOAT16 else 0x3F80
    votes = np.unpackbits(words.view(np.uint8), bitorder="little")[:d]
    expected = np.where(votes, one, one | 0x8000)
    if masked:
        expected *= np.unpackbits(mask.view(np.uint8), bitorder="little")[:d]
    np.testing.assert_array_equal(device.unpack(dtype, words, mask, d), expected)
