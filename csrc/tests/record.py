"""Writes calls of the core and what the reference gives for them, for replay.cpp.

A record is little-endian: uint64 operation, number of integers, number of arrays; the integers as int64 (floats as
the bits of a float64); then each array as uint64 size and its bytes. The last arrays are the expected results.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np

from electioncode import codes, reference

PACK, MOMENTUM, UNPACK, UPDATE, MAJORITY, CODED, TALLY, RANDOM, CHECKSUM = range(9)
DTYPES = {"float16": 0, "bfloat16": 1, "float32": 2, "float64": 3, "int8": 4}
ZERO = ("plus", "minus", "random", "abstain")
NAN = ("raise", "minus", "abstain")
TIE = ZERO
LENGTHS = (1, 2, 63, 64, 65, 127, 128, 500, 511, 512, 513, 1025, 1500)


def bits(x: float) -> int:
    return struct.unpack("<q", struct.pack("<d", x))[0]


def record(out: BinaryIO, operation: int, integers: list[int], arrays: list[np.ndarray | None]) -> None:
    out.write(struct.pack("<QQQ", operation, len(integers), len(arrays)))
    out.write(struct.pack(f"<{len(integers)}q", *integers))
    for a in arrays:
        data = b"" if a is None else np.ascontiguousarray(a).tobytes()
        out.write(struct.pack("<Q", len(data)) + data)


def bfloat16_bits(x: np.ndarray) -> np.ndarray:
    return (x.astype(np.float32).view(np.uint32) >> np.uint32(16)).astype(np.uint16)  # truncation: any value will do


def floats(rng: np.random.Generator, d: int, dtype: str, nan: bool) -> tuple[np.ndarray, np.ndarray]:
    """(values, bits to hand over)."""
    x = rng.standard_normal(d).astype(np.float32)
    x[rng.random(d) < 0.2] = 0.0
    x[rng.random(d) < 0.1] = -0.0
    if nan:
        x[rng.random(d) < 0.1] = np.nan
    if dtype == "bfloat16":
        b = bfloat16_bits(x)
        return (b.astype(np.uint32) << np.uint32(16)).view(np.float32), b
    x = x.astype(dtype)
    return x, x


def votes(rng: np.random.Generator, n: int, d: int, masked: bool) -> tuple[np.ndarray, np.ndarray | None]:
    voted = rng.random((n, d)) < 0.7 if masked else np.ones((n, d), dtype=bool)
    words = reference.to_words((rng.random((n, d)) < 0.5) & voted)
    return words, reference.to_words(voted) if masked else None


def packs(out: BinaryIO, rng: np.random.Generator) -> None:
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        for d in LENGTHS:
            for z, zero in enumerate(ZERO):
                nan = NAN[(d + z) % 3]
                values, handed = floats(rng, d, dtype, nan != "raise")
                words, mask = reference.pack(values, zero, nan, 7, 8, 9)
                record(out, PACK, [DTYPES[dtype], d, z, NAN.index(nan), 7, 8, 9], [handed, words, mask])


def with_one_nan(x: np.ndarray) -> np.ndarray:
    """What is stored: in 16 bits a NaN has one form."""
    return np.where(np.isnan(x), np.float16(np.nan), x) if x.dtype == np.float16 else x


def signs(x: np.ndarray) -> np.ndarray:
    """Words of the votes of a momentum, of which a NaN is taken for positive."""
    return reference.pack(np.where(np.isnan(x), 1, x))[0]


def steps(out: BinaryIO, rng: np.random.Generator) -> None:
    for dtype in ("float16", "float16 with NaNs", "float32", "float64"):
        dtype, _, nans = dtype.partition(" ")
        for d in LENGTHS:
            g, v, p = (rng.standard_normal(d).astype(dtype) for _ in range(3))
            for x in (g, v, p) if nans else ():
                x.view(np.uint16)[rng.random(d) < 0.2] |= 0x7C01
            new = with_one_nan(reference.momentum(v, g, 0.9))
            record(
                out,
                MOMENTUM,
                [DTYPES[dtype], d, bits(0.9), bits(1 - 0.9)],
                [g, v, signs(new), new],
            )
            kept = with_one_nan(reference.momentum(v, g, 0.99))
            record(
                out,
                MOMENTUM,
                [DTYPES[dtype], d, bits(0.9), bits(1 - 0.9), bits(0.99), bits(1 - 0.99)],
                [g, v, signs(new), kept],
            )
            words, mask = (w if w is None else w[0] for w in votes(rng, 1, d, d % 2 == 0))
            moved = with_one_nan(reference.update(p, reference.unpack(words, d, mask, np.float64), 0.01, 0.1))
            record(out, UPDATE, [DTYPES[dtype], d, bits(1 - 0.01 * 0.1), bits(-0.01)], [p, words, mask, moved])
    for dtype in ("int8", "float16", "float32", "float64"):
        for d in LENGTHS:
            words, mask = (w if w is None else w[0] for w in votes(rng, 1, d, d % 2 == 0))
            record(out, UNPACK, [DTYPES[dtype], d], [words, mask, reference.unpack(words, d, mask, dtype)])


def majorities(out: BinaryIO, rng: np.random.Generator) -> None:
    for n in (*range(1, 19), 31, 33, 64, 100, 255):
        for d in (1, 65, 513, 1500):
            for t, tie in enumerate(TIE):
                masked, weighted = rng.random() < 0.3, rng.random() < 0.3
                words, mask = votes(rng, n, d, masked)
                weights = rng.integers(-5, 9, n) if weighted else np.ones(n, dtype=np.int64)
                winner, voted = reference.majority(words, d, tie, mask, weights, 3, 2, 0)
                counts = reference.disagreement(words, winner, d, mask, voted)
                arrays = [words, mask, weights.astype(np.int64), winner, voted, counts]
                record(out, MAJORITY, [n, d, t, 3, 2], arrays)
                if not weighted:
                    margin = reference.scores(words, d, mask).astype(np.int32)
                    record(out, TALLY, [n, d, t, 3, 2], [words, mask, winner, voted, margin])


def coded(out: BinaryIO, rng: np.random.Generator) -> None:
    mixed = (rng.random((9, 33)) < 0.6).astype(np.uint8)
    mixed[4] = mixed[2]
    mixed[7] = 0
    some = [codes.uncoded(5), codes.deterministic(9, 2), codes.repetition(15, 3), codes.cyclic(33, 21)]
    for allocation in (*(c.allocation for c in some), mixed):
        n, k = allocation.shape
        for d in (65, 513, 1500):
            for t, tie in enumerate(TIE):
                words, mask = votes(rng, k, d, d == 513)
                local, local_mask = reference.local_majorities(words, allocation, d, tie, mask, 3, 2)
                winner, voted = reference.majority(local, d, tie, local_mask, None, 3, 2, 0)
                arrays = [words, mask, allocation.astype(np.uint8), local, local_mask, winner, voted]
                record(out, CODED, [n, k, d, t, 3, 2], arrays)


def main(path: str) -> None:
    rng = np.random.default_rng(0)
    with Path(path).open("wb") as out, np.errstate(invalid="ignore"):  # NaNs are meant
        packs(out, rng)
        steps(out, rng)
        majorities(out, rng)
        coded(out, rng)
        for n in (1, 7, 64, 1000):
            record(out, RANDOM, [n, 1, 2, 3, 4], [reference.random_words(n, 1, 2, 3, 4)])
            words = rng.integers(0, 2**64, n, dtype=np.uint64)
            record(out, CHECKSUM, [n], [words, np.array([reference.checksum(words)], dtype=np.uint64)])


if __name__ == "__main__":
    main(sys.argv[1])
