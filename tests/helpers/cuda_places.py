"""Run tests of the CUDA operations on a GPU, or on the CPU through the same kernels built for it.

The second is no imitation: `_cuda_emulated` is the same kernels, plans and argument checks compiled by the C++
compiler, with grid, block and warp as loops, and torch's CPU tensors stand for a device's.
"""

from __future__ import annotations

from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest

import electioncode as ec
from electioncode import reference
from electioncode.core import arrays, backend

torch = pytest.importorskip("torch")

POLICIES = ["plus", "minus", "random", "abstain"]  # for zeros and ties
DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
LENGTHS = [0, 1, 2, 63, 64, 65, 127, 2047, 2048, 2049, 5000]  # a tile is 2048 coordinates


class EmulatedDevice:
    """Stand in for `arrays.Device` with the CPU."""

    index = 0
    torch_device = torch.device("cpu")

    def stream(self) -> int:
        return 0

    def pinned(self, shape, dtype):
        return torch.empty(tuple(shape), dtype=dtype)

    def wait(self) -> None:
        pass


class Place:
    def __init__(self, device: str) -> None:
        self.device = device

    def floats(self, x: np.ndarray) -> torch.Tensor:
        """Return the values on the device; NumPy's bfloat16 is ml_dtypes', torch has its own."""
        if x.dtype.name == "bfloat16":
            return torch.from_numpy(x.view(np.int16).copy()).view(torch.bfloat16).to(self.device)
        return torch.from_numpy(x.copy()).to(self.device)

    def words(self, a: np.ndarray | None) -> torch.Tensor | None:
        return None if a is None else torch.from_numpy(a.view(np.int64).copy()).to(self.device)

    def votes(self, votes: ec.PackedSigns) -> ec.PackedSigns:
        return ec.PackedSigns(self.words(votes.words), votes.d, self.words(votes.mask))


def bits(t: torch.Tensor) -> np.ndarray:
    """Return a tensor's bits, so that zeros and NaNs compare as they are."""
    t = t.detach().cpu().contiguous()
    return t.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[t.element_size()]).numpy()


def assert_votes(got: ec.PackedSigns, words: np.ndarray, mask: np.ndarray | None) -> None:
    assert got.backend.name == "cuda"
    ours, our_mask = got.numpy()
    np.testing.assert_array_equal(ours, words)
    assert (our_mask is None) == (mask is None)
    if mask is not None:
        np.testing.assert_array_equal(our_mask, mask)


def places(kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Yield the value of the fixture `place`; its kind is "emulated", or "gpu" where there is one."""
    if kind == "gpu":
        if not torch.cuda.is_available():
            pytest.skip("this torch has no CUDA")
        yield Place("cuda:0")
        ec.synchronize()
        return
    native = pytest.importorskip(
        "electioncode.core._cuda_emulated", reason="built without ELECTIONCODE_EMULATION=ON (make setup builds with it)"
    )
    kind = arrays.CudaArrays(native, EmulatedDevice())
    monkeypatch.setattr(backend, "_torch", kind)
    monkeypatch.setattr(backend, "_devices", {0: kind})
    yield Place("cpu")


def example(rng, d, dtype, nan=False) -> np.ndarray:
    """Return numbers with zeros of both signs, subnormals, infinities and, if asked for, NaNs of both signs."""
    x = rng.standard_normal(d).astype(dtype)
    tiny = ml_dtypes.finfo(dtype).smallest_subnormal
    values = np.array([0.0, -0.0, tiny, -tiny, np.inf, -np.inf], dtype=dtype)
    pick = rng.random(d)
    x[pick < 0.5] = values[rng.integers(0, len(values), int((pick < 0.5).sum()))]
    if nan:
        x[pick > 0.9] = np.nan
        x[pick > 0.95] = -x[pick > 0.95]
    return x


def name(dtype) -> str:
    return np.dtype(dtype).name


def votes_of(rng, n, d, masked=False) -> ec.PackedSigns:
    bits = rng.random((n, d)) < rng.choice([0.3, 0.5, 0.7], d)
    mask = rng.random((n, d)) < 0.7 if masked else None
    words = reference.to_words(bits if mask is None else bits & mask)
    return ec.PackedSigns(words, d, None if mask is None else reference.to_words(mask))
