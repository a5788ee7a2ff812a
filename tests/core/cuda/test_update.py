"""Votes unpack into tensors and update parameters on a device as on the host."""

from __future__ import annotations

import numpy as np
import pytest

import electioncode as ec
from electioncode import core, reference

torch = pytest.importorskip("torch")

from cuda_places import DTYPES, LENGTHS, assert_votes, name, votes_of  # noqa: E402


@pytest.mark.parametrize("dtype", [*DTYPES, np.int8], ids=name)
def test_unpack(place, rng, dtype):
    kind = getattr(torch, name(dtype))
    for d in LENGTHS:
        for masked in (False, True):
            votes = votes_of(rng, 3, d, masked)
            out = torch.full((3, d), 7, dtype=kind, device=place.device)
            assert place.votes(votes).unpack(out=out) is out
            signs = votes.unpack(np.float32)
            np.testing.assert_array_equal(out.float().cpu().numpy(), signs)
            assert place.votes(votes).unpack(kind).dtype == kind
    assert place.votes(votes)[1].unpack().dtype == torch.float32


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_tensors_that_are_not_used(place, rng, masked, momentum):
    """By a flag on the device: no vote, no mask, no change of momentum, and nothing else for the others."""
    sizes = [65, 1, 5000, 0, 2048, 64, 3] * 10  # more than one launch takes
    used = rng.random(len(sizes)) < 0.5
    xs, vs = ([place.floats(rng.standard_normal(d).astype(np.float32)) for d in sizes] for _ in range(2))
    before = [v.clone() for v in vs]
    total = sum((d + 63) // 64 for d in sizes)
    words, mask = (torch.full((total,), -1, dtype=torch.int64, device=place.device) for _ in range(2))
    ops = core.backend_of(words, "test").core
    flags = torch.from_numpy(used).to(place.device)
    planes = (words, mask if masked else None)
    momenta = vs if momentum else [None] * len(xs)
    jobs = [(2, x.data_ptr(), 0 if v is None else v.data_ptr(), len(x)) for x, v in zip(xs, momenta, strict=True)]
    ops.pack_addresses(jobs, momentum, 1 - momentum, False, *planes, 0, 0, 0, 0, 0, 0, None, flags)
    first = 0
    for x, v, old, is_used in zip(xs, vs, before, used, strict=True):
        width, d = (len(x) + 63) // 64, len(x)
        at = slice(first, first + width)
        first += width
        expected = old * momentum + x * (1 - momentum) if momentum else x
        if is_used:
            assert_votes(ec.PackedSigns(words[at], d), reference.pack(expected.cpu().numpy())[0], None)
        else:
            assert not words[at].any()
        assert torch.equal(v, expected if is_used and momentum else old)
        if masked:
            voted = reference.to_words(np.full(d, is_used))
            np.testing.assert_array_equal(mask[at].cpu().numpy().view(np.uint64), voted)
    ec.synchronize()


def test_signs_into_many_tensors(place, rng):
    sizes = [65, 1, 5000, 0, 2048, 64, 3] * 10
    for dtype in (torch.int8, torch.float16, torch.bfloat16, torch.float32, torch.float64):
        outs = [torch.full((d,), 7, dtype=dtype, device=place.device) for d in sizes]
        votes = [place.votes(votes_of(rng, 1, d, masked=True)[0]) for d in sizes]
        words, mask = (torch.cat([getattr(v, name) for v in votes]) for name in ("words", "mask"))
        core.backend_of(words, "test").core.unpack_tensors(outs, words, mask)
        for out, v in zip(outs, votes, strict=True):
            assert torch.equal(out, v.unpack(dtype))
