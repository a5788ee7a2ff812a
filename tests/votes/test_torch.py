"""Torch tensors in, torch tensors out, with the bits that NumPy gives."""

from __future__ import annotations

import numpy as np
import pytest

import electioncode as ec
from electioncode import reference

torch = pytest.importorskip("torch")

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pack_and_unpack(isa, dtype):
    generator = torch.Generator().manual_seed(0)
    for d in (0, 1, 64, 65, 1000):
        x = torch.randn(d, generator=generator).to(dtype)
        x[torch.rand(d, generator=generator) < 0.3] = 0
        for zero in ("plus", "abstain"):
            votes = ec.pack(x, zero)
            words, mask = reference.pack(x.double().numpy(), zero)
            assert votes.words.dtype == torch.int64
            np.testing.assert_array_equal(votes.words.numpy().view(np.uint64), words)
            if mask is not None:
                np.testing.assert_array_equal(votes.mask.numpy().view(np.uint64), mask)
            signs = votes.unpack(dtype)
            assert signs.dtype == dtype
            expected = torch.sign(x) if zero == "abstain" else torch.where(x >= 0, 1, -1).to(dtype)
            assert torch.equal(signs, expected)


def test_votes():
    x = torch.randn(9, 1000)
    code = ec.deterministic(9, 1)
    votes, same = ec.pack(x), ec.pack(x.numpy())
    winner = ec.majority(votes, "random", seed=1)
    assert isinstance(winner.words, torch.Tensor)
    assert winner == ec.majority(same, "random", seed=1)
    local = ec.local_majorities(votes, code)
    assert isinstance(local.words, torch.Tensor)
    assert local == ec.local_majorities(same, code)
    counts = ec.disagreement(votes, winner)
    assert isinstance(counts, torch.Tensor)
    assert counts.dtype == torch.int64
    np.testing.assert_array_equal(counts.numpy(), ec.disagreement(same, winner))
    tally = ec.Tally(1000, 9)
    for row in x:
        tally.add(row)
    assert isinstance(tally.majority().words, torch.Tensor)
    assert tally.majority() == ec.majority(votes)
    assert torch.equal(tally.margin(), torch.sign(x).sum(0).int())


def test_equals_torch_voting():
    x = torch.randn(15, 5000)
    expected = torch.sign(x).sum(0).sign()
    assert torch.equal(ec.majority(ec.pack(x)).unpack(), expected)


def test_strides_gradients_and_output():
    x = torch.randn(50, 40, requires_grad=True)
    assert ec.pack(x.t()) == ec.pack(x.detach().numpy().T)
    assert ec.pack(x[:, ::2]) == ec.pack(x.detach().numpy()[:, ::2])
    assert ec.pack(x.bfloat16().t()) == ec.pack(x.detach().bfloat16().float().numpy().T)
    out = ec.pack(torch.zeros(50, 40))
    assert ec.pack(x, out=out) is out
    assert out == ec.pack(x.detach().numpy())


def test_bad_input():
    with pytest.raises(TypeError, match=r"x must have dtype .*, got torch\.int32"):
        ec.pack(torch.zeros(3, dtype=torch.int32))
    with pytest.raises(TypeError, match="out must be PackedSigns of the same kind"):
        ec.pack(torch.zeros(3), out=ec.pack(np.zeros(3)))
    with pytest.raises(TypeError, match="must be on the CPU"):
        ec.pack(torch.zeros(3, device="meta"))
