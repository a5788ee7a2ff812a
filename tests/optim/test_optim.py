"""Signum without an election: equal to the reference, and to torch's own operations, bit for bit."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import electioncode as ec
from electioncode import reference

torch = pytest.importorskip("torch")
Signum = ec.Signum

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
SHAPES = [(7,), (64,), (3, 5), (10, 13), (1,), (257,), (2, 3, 4, 5), (0,)]


def parameters(dtype, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(*shape, generator=g).to(dtype)) for shape in SHAPES]


def gradients(dtype, step):
    g = torch.Generator().manual_seed(1000 + step)
    grads = [torch.randn(*shape, generator=g).to(dtype) for shape in SHAPES]
    return [torch.where(torch.rand(x.shape, generator=g) < 0.1, torch.zeros_like(x), x) for x in grads]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("maximize", [False, True])
def test_equals_torch_operations(isa, dtype, momentum, weight_decay, maximize):
    ours, theirs = parameters(dtype), parameters(dtype)
    buffers = [torch.zeros_like(p) for p in theirs]
    lr = 0.01
    optimizer = Signum(ours, lr, momentum, weight_decay, maximize=maximize)
    for step in range(6):
        for p, g in zip(ours, gradients(dtype, step), strict=True):
            p.grad = g
        optimizer.step()
        with torch.no_grad():
            for p, v, g in zip(theirs, buffers, gradients(dtype, step), strict=True):
                g = -g if maximize else g
                v.copy_(v * momentum + g * (1 - momentum) if momentum else g)
                p.mul_(1 - lr * weight_decay)
                p.add_(torch.sign(v), alpha=-lr)
        for p, q in zip(ours, theirs, strict=True):
            assert torch.equal(p, q)
    for p, v in zip(ours, buffers, strict=True):
        if momentum:
            assert torch.equal(optimizer.state[p]["momentum_buffer"], v)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_equals_reference(isa, rng, dtype):
    p = rng.standard_normal(1000).astype(dtype)
    v = np.zeros_like(p)
    parameter = torch.nn.Parameter(torch.from_numpy(p.copy()))
    optimizer = Signum([parameter], 0.03, 0.9, 0.2)
    for _ in range(5):
        g = rng.standard_normal(1000).astype(dtype)
        parameter.grad = torch.from_numpy(g)
        optimizer.step()
        v = reference.momentum(v, g, 0.9)
        p = reference.update(p, np.sign(v), 0.03, 0.2)
        np.testing.assert_array_equal(parameter.detach().numpy(), p)
        np.testing.assert_array_equal(optimizer.state[parameter]["momentum_buffer"].numpy(), v)


def test_half_precision_rounding_of_every_value(isa):
    """Every float16 and bfloat16 value through momentum and update, against torch: rounding, subnormals, infinities."""
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.float16, torch.bfloat16):
        values = bits.view(dtype)
        values = values[~torch.isnan(values)]
        for beta in (0.9, 0.37):
            p = torch.nn.Parameter(values.clone())
            p.grad = values.flip(0).clone()
            optimizer = Signum([p], 0.001, beta, 0.5)
            optimizer.state[p]["momentum_buffer"] = values.clone()
            v = values * beta + p.grad * (1 - beta)
            if torch.isnan(v).any():  # inf - inf
                keep = ~torch.isnan(v)
                v = v[keep]
                p = torch.nn.Parameter(values[keep].clone())
                p.grad = values.flip(0)[keep].clone()
                optimizer = Signum([p], 0.001, beta, 0.5)
                optimizer.state[p]["momentum_buffer"] = values[keep].clone()
            expected = p.detach() * (1 - 0.001 * 0.5) - torch.sign(v) * 0.001
            optimizer.step()
            assert torch.equal(optimizer.state[p]["momentum_buffer"], v)
            assert torch.equal(p.detach(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_update_equals_add_with_alpha(dtype):
    """lr * sign is exact, so that torch's fused form of the update, too, gives the same bits in 32 and 64 bits."""
    p = torch.nn.Parameter(torch.randn(1003, dtype=dtype))
    p.grad = torch.randn(1003, dtype=dtype)
    expected = p.detach().clone().mul_(1 - 0.1 * 0.3).add_(torch.sign(p.grad), alpha=-0.1)
    Signum([p], 0.1, 0.0, 0.3).step()
    assert torch.equal(p.detach(), expected)


def test_three_step_vector():
    """Signs of a momentum that is kept: gradients 100, -1, -1 move the parameter down three times."""
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = Signum([p], lr=1.0, momentum=0.9)
    path = []
    for g in (100.0, -1.0, -1.0):
        p.grad = torch.tensor([g])
        optimizer.step()
        path.append(p.item())
    assert path == [-1.0, -2.0, -3.0]


def test_groups_closure_and_unused_parameters():
    a, b, c, frozen = (torch.nn.Parameter(torch.ones(5)) for _ in range(4))
    frozen.requires_grad_(False)
    optimizer = Signum(
        [{"params": [a, b]}, {"params": [c, frozen], "lr": 0.5, "momentum": 0.0, "weight_decay": 0.1}],
        lr=0.25,
    )

    def closure():
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        loss = (2 * a - 3 * c).sum()
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    assert loss.item() == -5.0
    assert a.tolist() == [0.75] * 5
    assert b.tolist() == [1.0] * 5  # no gradient: left alone
    assert frozen.tolist() == [1.0] * 5
    assert c.tolist() == pytest.approx([1.45] * 5)
    optimizer.param_groups[0]["lr"] = 1.0
    optimizer.step(closure)
    assert a.tolist() == [-0.25] * 5
    d = torch.nn.Parameter(torch.ones(3))
    optimizer.add_param_group({"params": [d]})
    d.grad = torch.ones(3)
    optimizer.step()
    assert d.tolist() == [0.75] * 3


def test_state_dict_resumes_bit_for_bit():
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16):
        model = torch.nn.Linear(10, 3).to(dtype)
        optimizer = Signum(model.parameters(), 0.01, weight_decay=0.1)

        def train(model, optimizer, steps, dtype=dtype):
            for step in range(steps):
                optimizer.zero_grad()
                x = torch.randn(4, 10, generator=torch.Generator().manual_seed(step)).to(dtype)
                model(x).square().sum().backward()
                optimizer.step()

        train(model, optimizer, 3)
        other = copy.deepcopy(model)
        resumed = Signum(other.parameters(), 1.0)
        resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        train(model, optimizer, 4)
        train(other, resumed, 4)
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))


def test_memory_formats(rng):
    """A channels-last parameter with gradients in either order steps like a contiguous one."""
    plain = torch.nn.Parameter(torch.randn(4, 3, 5, 6))
    last = torch.nn.Parameter(plain.detach().clone(memory_format=torch.channels_last))
    for order in (torch.contiguous_format, torch.channels_last):
        grad = torch.randn(4, 3, 5, 6)
        plain.grad, last.grad = grad.clone(), grad.contiguous(memory_format=order)
        Signum([plain], 0.1, 0.0).step()
        Signum([last], 0.1, 0.0).step()
        assert torch.equal(plain, last)
    strided = torch.nn.Parameter(torch.randn(6, 6)[:, ::2])
    strided.grad = torch.randn(6, 3)
    with pytest.raises(ValueError, match="must be dense"):
        Signum([strided], 0.1).step()


def test_threads_do_not_change_a_bit():
    results = []
    for n in (1, 3):
        ec.set_num_threads(n)
        p = torch.nn.Parameter(torch.randn(1_500_003, generator=torch.Generator().manual_seed(1)))
        p.grad = torch.randn(1_500_003, generator=torch.Generator().manual_seed(2))
        optimizer = Signum([p], 0.01, weight_decay=0.1)
        optimizer.step()
        optimizer.step()
        results.append(p.detach().clone())
    ec.set_num_threads()
    assert torch.equal(*results)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": -1.0}, "lr must be at least 0, got -1.0"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Signum([torch.nn.Parameter(torch.zeros(1))], **arguments)


def test_bad_gradients():
    p = torch.nn.Parameter(torch.zeros(2, 3))
    optimizer = Signum([p], 0.1)
    p.grad = torch.full((2, 3), float("nan"))
    with pytest.raises(ValueError, match=r"NaN in the gradient .*\(2, 3\)"):
        optimizer.step()
    assert p.tolist() == [[0.0] * 3] * 2
    with pytest.raises(RuntimeError, match="there is no election"):
        optimizer.cast(0)
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="must be dense, got a sparse one"):
        Signum(embedding.parameters(), 0.1).step()
