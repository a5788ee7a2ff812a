"""Optimizers and elections on CUDA tensors, on a GPU and emulated on the CPU, equal those on the host bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import electioncode as ec
from electioncode import reference

torch = pytest.importorskip("torch")

from cuda_places import POLICIES, Place, assert_votes, bits, example  # noqa: E402

HOST = Place("cpu")
SHAPES = [(7,), (64,), (3, 5), (10, 13), (1,), (0,), (2048,), (33, 65)]


def parameters(place, dtype, seed, count=1):
    g = torch.Generator().manual_seed(seed)
    shapes = SHAPES * count
    return [torch.nn.Parameter(torch.randn(*shape, generator=g).to(dtype).to(place.device)) for shape in shapes]


def gradients(place, dtype, step, count=1):
    g = torch.Generator().manual_seed(1000 + step)
    grads = [torch.randn(*shape, generator=g).to(dtype) for shape in SHAPES * count]
    return [torch.where(torch.rand(x.shape, generator=g) < 0.1, 0.0, x).to(dtype).to(place.device) for x in grads]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("maximize", [False, True])
def test_signum(place, dtype, momentum, maximize):
    """As torch's operations on the CPU, each rounded: momentum and signs, and the update, of many tensors at once."""
    count = 14 if dtype == torch.float32 else 1  # 112 tensors: more than one launch takes
    lr, decay = 0.01, 0.1
    ours, theirs = (parameters(where, dtype, 3, count) for where in (place, HOST))
    buffers = [torch.zeros_like(p) for p in theirs]
    optimizer = ec.Signum(ours, lr, momentum, decay, maximize=maximize)
    for step in range(3):
        for p, g in zip(ours, gradients(place, dtype, step, count), strict=True):
            p.grad = g
        optimizer.step()
        with torch.no_grad():
            for p, v, g in zip(theirs, buffers, gradients(HOST, dtype, step, count), strict=True):
                g = -g if maximize else g
                v.copy_(v * momentum + g * (1 - momentum) if momentum else g)
                p.mul_(1 - lr * decay)
                p.add_(torch.sign(v), alpha=-lr)
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(bits(p), bits(q))
    ec.synchronize()
    if momentum:
        for p, v in zip(ours, buffers, strict=True):
            np.testing.assert_array_equal(bits(optimizer.state[p]["momentum_buffer"]), bits(v))


def test_lion(place):
    """The signs of one sum and the momentum of another, as torch's operations."""
    ours, theirs = (parameters(where, torch.float32, 3) for where in (place, HOST))
    buffers = [torch.zeros_like(p) for p in theirs]
    optimizer = ec.Lion(ours, 0.01, (0.9, 0.99), 0.1)
    for step in range(3):
        with torch.no_grad():
            for p, q, m, g in zip(ours, theirs, buffers, gradients(HOST, torch.float32, step), strict=True):
                p.grad = g.to(place.device)
                direction = torch.sign(m * 0.9 + g * (1 - 0.9))
                m.copy_(m * 0.99 + g * (1 - 0.99))
                q.mul_(1 - 0.01 * 0.1).add_(direction, alpha=-0.01)
        optimizer.step()
    for p, q, m in zip(ours, theirs, buffers, strict=True):
        np.testing.assert_array_equal(bits(p), bits(q))
        np.testing.assert_array_equal(bits(optimizer.state[p]["exp_avg"]), bits(m))


def test_half_precision_rounding_of_every_value(place):
    """Every float16 and bfloat16 value through momentum and update, against torch on the CPU."""
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.float16, torch.bfloat16):
        values = every.view(dtype)
        values = values[~torch.isnan(values)]
        for beta in (0.9, 0.37):
            v = values * beta + values.flip(0) * (1 - beta)
            keep = ~torch.isnan(v)  # inf - inf
            p = torch.nn.Parameter(values[keep].to(place.device))
            p.grad = values.flip(0)[keep].to(place.device)
            optimizer = ec.Signum([p], 0.001, beta, 0.5)
            optimizer.state[p]["momentum_buffer"] = values[keep].to(place.device)
            expected = values[keep] * (1 - 0.001 * 0.5) - torch.sign(v[keep]) * 0.001
            optimizer.step()
            np.testing.assert_array_equal(bits(optimizer.state[p]["momentum_buffer"]), bits(v[keep]))
            assert torch.equal(p.detach().cpu(), expected)


@pytest.mark.parametrize("tie", POLICIES)
@pytest.mark.parametrize("zero", ["plus", "random", "abstain"])
def test_election(place, rng, tie, zero):
    """Whole elections, floats and PackedSigns cast, with an attacker: the same winner as on the host."""
    code, d = ec.deterministic(9, 2), 1000
    attackers = {1: ec.attacks.reverse(), 4: ec.attacks.random(3), 6: ec.attacks.directional()}
    elections = [
        ec.Election(code, ec.transport.InProcessTransport(9), tie, zero, seed=4, byzantine=attackers) for _ in range(2)
    ]
    for step in range(3):
        for j in range(9):
            x = example(rng, d, np.float32)
            elections[0].cast(j, x)
            there = place.floats(x)
            if j % 2 == 0:
                there = ec.pack(there, zero, seed=4, step=step, stream=j)
            elections[1].cast(j, there)
        host, device = (e.resolve() for e in elections)
        assert_votes(device, host.words, host.mask)


@pytest.mark.parametrize("tie", POLICIES)
def test_an_election_about_nothing(place, tie):
    """d = 0: a mask exactly where ties abstain, as on the host."""
    with ec.Election(ec.uncoded(3), ec.transport.InProcessTransport(3), tie) as election:
        for j in range(3):
            election.cast(j, torch.zeros(0, device=place.device))
        winner = election.resolve()
    assert winner.shape == (0,) and winner.backend.name == "cuda" and (winner.mask is not None) == (tie == "abstain")


class Deaf(ec.transport.InProcessTransport):
    def exchange(self, messages, max_bytes, decode):
        return super().exchange({}, max_bytes, decode)


class Wrapped:
    """What somebody else's transport around one of ours may look like."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def exchange(self, messages, max_bytes, decode):
        return self.inner.exchange({}, max_bytes, decode)


@pytest.mark.parametrize("make", [Deaf, lambda n: Wrapped(ec.transport.InProcessTransport(n))])
def test_a_transport_with_an_exchange_of_its_own(place, make):
    with ec.Election(ec.uncoded(3), make(3)) as election:
        for j in range(3):
            election.cast(j, torch.ones(70, device=place.device))
        election.resolve()
        assert election.stats.abstentions == {0: 1, 1: 1, 2: 1}


def test_signum_with_an_election(place):
    """Training on a device and on the host gives the same parameters, bit for bit."""
    code = ec.repetition(6, 3)
    results = []
    for device in (place.device, None):
        params = [torch.nn.Parameter(p.detach().cpu()) for p in parameters(place, torch.float32, 5)]
        if device is not None:
            params = [torch.nn.Parameter(p.detach().to(device)) for p in params]
        else:  # NumPy's own backend stands for the host, since torch's may be the emulated device
            results.append(_train_on_host(code, params))
            continue
        election = ec.Election(code, ec.transport.InProcessTransport(6), tie="random", zero="random", seed=1)
        optimizer = ec.Signum(params, 0.1, 0.9, 0.01, election=election)
        for step in range(3):
            for j in range(3):
                for p, g in zip(params, gradients(place, torch.float32, 10 * step + j), strict=True):
                    p.grad = g
                params[0].grad = None if j == 1 else params[0].grad  # unused by one partition
                optimizer.cast(j)
            optimizer.step()
        results.append([bits(p) for p in params])
    for got, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(got, expected)


def _train_on_host(code, params):
    """The same in NumPy's reference: momentum per partition, signs, vote of the code, update."""
    flat = [p.detach().numpy().reshape(-1).copy() for p in params]
    momenta = [[np.zeros_like(a) for a in flat] for _ in range(3)]
    sizes = [(a.size + 63) // 64 for a in flat]
    total = 64 * sum(sizes)
    for step in range(3):
        rows, masks = [], []
        for j in range(3):
            grads = [g.numpy().reshape(-1) for g in gradients(HOST, torch.float32, 10 * step + j)]
            random = reference.to_bits(reference.random_words(total // 64, 1, step, j, reference.PURPOSE_ZERO), total)
            vote, voted, first = np.zeros(total, dtype=bool), np.zeros(total, dtype=bool), 0
            for i, g in enumerate(grads):
                part = slice(first, first + g.size)
                if not (j == 1 and i == 0):
                    momenta[j][i] = v = reference.momentum(momenta[j][i], g, 0.9)
                    vote[part] = np.where(v == 0, random[part], v > 0)
                    voted[part] = True
                first += 64 * sizes[i]
            rows.append(reference.to_words(vote))
            # Without a mask every coordinate votes, the padding between tensors too: -1, which nobody reads.
            masks.append(reference.to_words(voted) if j == 1 else np.full(total // 64, ~np.uint64(0)))
        local, mask = reference.local_majorities(
            np.stack(rows), code.allocation, total, "random", np.stack(masks), 1, step
        )
        winner, _ = reference.majority(local, total, "random", mask, None, 1, step)
        signs, first = reference.unpack(winner, total), 0
        for i, a in enumerate(flat):
            flat[i] = reference.update(a, signs[first : first + a.size], 0.1, 0.01)
            first += 64 * sizes[i]
    return [a.view(np.int32).reshape(p.shape) for a, p in zip(flat, params, strict=True)]
