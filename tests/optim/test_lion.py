"""Lion, alone and by election: equal to torch's own operations, and to the reference, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import electioncode as ec
from electioncode import reference
from electioncode.transport import InProcessTransport

torch = pytest.importorskip("torch")
Lion = ec.Lion

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
SHAPES = [(7,), (64,), (3, 5), (10, 13), (1,), (257,), (2, 3, 4, 5), (0,)]


def parameters(dtype, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(*shape, generator=g).to(dtype)) for shape in SHAPES]


def gradients(dtype, *key):
    g = torch.Generator().manual_seed(int("9" + "".join(map(str, key))))
    grads = [torch.randn(*shape, generator=g).to(dtype) for shape in SHAPES]
    return [torch.where(torch.rand(x.shape, generator=g) < 0.1, torch.zeros_like(x), x) for x in grads]


def direction(m, g, betas, maximize=False):
    """Return c and the new m."""
    g = -g if maximize else g
    return m * betas[0] + g * (1 - betas[0]), m * betas[1] + g * (1 - betas[1])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.95, 0.98), (0.0, 0.5), (0.5, 0.0)])
@pytest.mark.parametrize(("weight_decay", "maximize"), [(0.0, False), (0.3, False), (0.3, True)])
def test_equals_torch_operations(isa, dtype, betas, weight_decay, maximize):
    ours, theirs = parameters(dtype), parameters(dtype)
    momenta = [torch.zeros_like(p) for p in theirs]
    lr = 0.01
    optimizer = Lion(ours, lr, betas, weight_decay, maximize=maximize)
    for step in range(6):
        for p, g in zip(ours, gradients(dtype, step), strict=True):
            p.grad = g
        optimizer.step()
        with torch.no_grad():
            for p, m, g in zip(theirs, momenta, gradients(dtype, step), strict=True):
                c, new = direction(m, g, betas, maximize)
                m.copy_(new)
                p.mul_(1 - lr * weight_decay)
                p.sub_(torch.sign(c) * lr)
        for p, q, m in zip(ours, theirs, momenta, strict=True):
            assert torch.equal(p, q)
            assert torch.equal(optimizer.state[p]["exp_avg"], m)


def test_every_half_precision_value(isa):
    """Every float16 and bfloat16 value as momentum and gradient: rounding, subnormals, infinities."""
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.float16, torch.bfloat16):
        values = bits.view(dtype)
        values = values[~torch.isnan(values)]
        m, g = values.clone(), values.flip(0)
        c, new = direction(m, g, (0.37, 0.9))
        keep = ~(torch.isnan(c) | torch.isnan(new))
        m, g, c, new = m[keep], g[keep], c[keep], new[keep]
        p = torch.nn.Parameter(torch.zeros_like(m))
        p.grad = g
        optimizer = Lion([p], 1.0, (0.37, 0.9))
        optimizer.state[p]["exp_avg"] = m.clone()
        optimizer.step()
        assert torch.equal(optimizer.state[p]["exp_avg"], new)
        assert torch.equal(p.detach(), -torch.sign(c))


def test_equals_the_published_algorithm():
    """In float64, against the textbook form with torch's fused calls: the same path to 1e-12."""
    p = torch.nn.Parameter(torch.randn(1000, dtype=torch.float64))
    q, m = p.detach().clone(), torch.zeros(1000, dtype=torch.float64)
    optimizer = Lion([p], 0.01, (0.9, 0.99), 0.1)
    for _ in range(20):
        p.grad = torch.randn(1000, dtype=torch.float64)
        update = m.clone().mul_(0.9).add_(p.grad, alpha=0.1).sign_()
        q.mul_(1 - 0.01 * 0.1).add_(update, alpha=-0.01)
        m.mul_(0.99).add_(p.grad, alpha=0.01)
        optimizer.step()
        assert torch.allclose(p.detach(), q, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["Signum", "Lion"])
@pytest.mark.parametrize("policy", ["plus", "random", "abstain"])
def test_election_equals_a_loop_over_the_reference(name, dtype, policy):
    """Momentum per partition, local votes, the vote, and the update, all written down as they are defined."""
    code, lr, weight_decay, betas = ec.deterministic(5, 1), 0.01, 0.1, (0.9, 0.8)
    ours = parameters(dtype)
    theirs = [p.detach().clone() for p in ours]
    election = ec.Election(code, InProcessTransport(5), tie=policy, zero=policy, seed=11)
    if name == "Lion":
        optimizer = Lion(ours, lr, betas, weight_decay, election=election)
    else:
        optimizer = ec.Signum(ours, lr, betas[0], weight_decay, election=election)
    momenta = {j: [torch.zeros_like(p) for p in theirs] for j in range(5)}
    sizes = [64 * ((p.numel() + 63) // 64) for p in theirs]
    for step in range(3):
        rows, masks = [], []
        for j in range(5):
            flat = torch.full((sum(sizes),), -1.0, dtype=torch.float64)  # padding votes -1: its bits are 0
            voted = torch.zeros(sum(sizes), dtype=torch.float64)
            first = 0
            for i, g in enumerate(gradients(dtype, step, j)):
                c, new = direction(momenta[j][i], g, betas)
                momenta[j][i] = new if name == "Lion" else c
                flat[first : first + g.numel()] = c.flatten().double()
                voted[first : first + g.numel()] = 1
                first += sizes[i]
            words, mask = reference.pack(flat.numpy(), policy, "raise", 11, step, j)
            inside = reference.to_words(voted.numpy() > 0)
            rows.append(words & inside)
            masks.append(inside if mask is None else mask & inside)
            for p, g in zip(ours, gradients(dtype, step, j), strict=True):
                p.grad = g
            optimizer.cast(j)
        optimizer.step()
        d = sum(sizes)
        mask_rows = masks if policy == "abstain" else None
        local, local_mask = reference.local_majorities(
            np.array(rows), code.allocation, d, policy, mask_rows, 11, step
        )
        words, mask = reference.majority(list(local), d, policy, local_mask, None, 11, step, 0)
        signs = torch.from_numpy(reference.unpack(words, d, mask, np.float64))
        first = 0
        for i, q in enumerate(theirs):
            s = signs[first : first + q.numel()].view(q.shape).to(dtype)
            q.mul_(1 - lr * weight_decay)
            q.sub_(s * lr)
            first += sizes[i]
        for p, q in zip(ours, theirs, strict=True):
            assert torch.equal(p.detach(), q)
        for i, p in enumerate(ours):
            held = optimizer.state[p]["exp_avgs" if name == "Lion" else "momentum_buffers"]
            assert all(torch.equal(held[j], momenta[j][i]) for j in range(5))


def test_threads_do_not_change_a_bit():
    results = []
    for n in (1, 3):
        ec.set_num_threads(n)
        p = torch.nn.Parameter(torch.randn(1_500_003, generator=torch.Generator().manual_seed(1)))
        optimizer = Lion([p], 0.01, weight_decay=0.1)
        for seed in (2, 3):
            p.grad = torch.randn(1_500_003, generator=torch.Generator().manual_seed(seed))
            optimizer.step()
        results.append((p.detach().clone(), optimizer.state[p]["exp_avg"]))
    ec.set_num_threads()
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"betas": (1.0, 0.9)}, r"Lion: betas\[0\] must be in \[0, 1\), got 1.0"),
        ({"betas": (0.9, -0.1)}, r"Lion: betas\[1\] must be in \[0, 1\), got -0.1"),
        ({"betas": (0.9, float("nan"))}, r"betas\[1\]"),
        ({"betas": (0.9,)}, r"betas must be two numbers, got \(0.9,\)"),
        ({"lr": -1}, "Lion: lr must be at least 0, got -1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Lion([torch.nn.Parameter(torch.zeros(1))], **arguments)


def test_nan_raises():
    p = torch.nn.Parameter(torch.zeros(3))
    p.grad = torch.tensor([1.0, float("nan"), 1.0])
    with pytest.raises(ValueError, match="Lion: NaN in the gradient"):
        Lion([p]).step()
    assert p.tolist() == [0.0] * 3
