"""Signum and Lion keep the promises of any torch optimizer: options, groups, schedulers, hooks, pickles, shards."""

from __future__ import annotations

import copy
import io
import pickle

import pytest

import electioncode as ec
from electioncode.transport import InProcessTransport

torch = pytest.importorskip("torch")

both = pytest.mark.parametrize("make", [ec.Signum, ec.Lion])


def model_of(dtype=torch.float32):
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(10, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3)).to(dtype)


def gradient_step(model, optimizer, step, before=None):
    optimizer.zero_grad()
    x = torch.randn(4, 10, generator=torch.Generator().manual_seed(step)).to(next(model.parameters()).dtype)
    loss = model(x).square().sum()
    loss.backward()
    if before:
        before()
    optimizer.step()
    return loss


def train(model, optimizer, steps, after=lambda: None):
    for step in steps:
        gradient_step(model, optimizer, step)
        after()
    return [p.detach().clone() for p in model.parameters()]


def equal(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@both
def test_unsupported_options_say_why(make):
    p = [torch.nn.Parameter(torch.zeros(2))]
    who = make.__name__
    for name, reason in (("capturable", "CUDA graph"), ("differentiable", "derivative of a sign is zero")):
        with pytest.raises(ValueError, match=f"{who}: {name}=True is not supported: .*{reason}"):
            make(p, **{name: True})
        with pytest.raises(ValueError, match=f"{name}=True"):
            make([{"params": p, name: True}])
    with pytest.raises(ValueError, match="fused=False is not supported"):
        make(p, fused=False)
    with pytest.raises(ValueError, match="fused=True and foreach=False exclude each other"):
        make(p, fused=True, foreach=False)
    with pytest.raises(ValueError, match="lr must be at least 0"):
        make([{"params": p, "lr": -1.0}])
    with pytest.raises(ValueError, match=r"lr must be one number, got a tensor of shape \(2,\)"):
        make(p, lr=torch.ones(2))
    with pytest.raises(ValueError, match="lr must be at least 0"):
        make(p, lr=torch.tensor(-1.0))
    optimizer = make(p)
    with pytest.raises(ValueError, match="weight_decay must be at least 0"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "weight_decay": -1.0})
    assert len(optimizer.param_groups) == 1
    defaults = {"maximize": False, "foreach": None, "capturable": False, "differentiable": False, "fused": None}
    assert defaults.items() <= optimizer.defaults.items()


@both
def test_foreach_and_fused_change_no_bit_but_the_number_of_native_calls(make, monkeypatch):
    from electioncode.core import tensors

    calls, real = [], tensors.pack_tensors
    monkeypatch.setattr(tensors, "pack_tensors", lambda *a: calls.append(len(a[1])) or real(*a))
    results = []
    for options, expected in (({}, [4]), ({"foreach": True, "fused": True}, [4]), ({"foreach": False}, [1] * 4)):
        model = model_of()
        results.append(train(model, make(model.parameters(), 0.01, **options), [0]))
        assert calls == expected
        calls.clear()
    assert equal(results[0], results[1]) and equal(results[0], results[2])


@both
def test_maximize_is_minimizing_the_negative(make):
    up, down = (torch.nn.Parameter(torch.linspace(-1, 1, 9)) for _ in range(2))
    a, b = make([up], 0.1, maximize=True), make([down], 0.1)
    for scale in (1.0, -3.0, 0.5):
        up.grad, down.grad = scale * torch.linspace(-1, 1, 9), -scale * torch.linspace(-1, 1, 9)
        a.step()
        b.step()
    assert torch.equal(up, down)


@both
def test_a_tensor_as_lr_and_schedulers(make):
    """A tensor lr gives the bits of its value as a number, and schedulers drive either."""
    value = torch.tensor(0.01).item()
    results = []
    for lr in (torch.tensor(0.01), value):
        model = model_of()
        optimizer = make(model.parameters(), lr, weight_decay=0.1)
        results.append(train(model, optimizer, range(3)))
    assert equal(*results)

    results, rates = [], []
    for lr in (torch.tensor(0.5), 0.5):
        model = model_of()
        optimizer = make(model.parameters(), lr)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        results.append(train(model, optimizer, range(4), schedule.step))
        rates.append(float(optimizer.param_groups[0]["lr"]))
    assert equal(*results) and rates == [0.5 / 16] * 2
    before = [p.clone() for p in model.parameters()]
    after = train(model, optimizer, [9])
    moved = torch.cat([(x - y).flatten() for x, y in zip(before, after, strict=True)]).abs()
    assert torch.allclose(moved[moved > 0], torch.tensor(0.5 / 16), rtol=1e-3)


@both
def test_one_cycle_may_drive_lr_and_other_schedulers_compose(make):
    model = model_of()
    optimizer = make(model.parameters(), 1.0)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cosine], [2])
    seen = []
    train(model, optimizer, range(5), lambda: (seen.append(optimizer.param_groups[0]["lr"]), schedule.step()))
    assert seen[0] == pytest.approx(0.1) and max(seen) == pytest.approx(1.0) and seen[-1] < 1.0


@both
def test_hooks_and_closures(make):
    model = model_of()
    optimizer = make(model.parameters(), 0.01)
    order = []
    optimizer.register_step_pre_hook(lambda o, args, kwargs: order.append("pre"))
    handle = optimizer.register_step_post_hook(lambda o, args, kwargs: order.append("post"))
    loss = optimizer.step(lambda: order.append("closure") or model(torch.ones(1, 10)).sum())
    assert order == ["pre", "closure", "post"] and loss.requires_grad
    handle.remove()
    gradient_step(model, optimizer, 0)
    assert order[3:] == ["pre"]
    optimizer.zero_grad(set_to_none=False)
    assert all((p.grad == 0).all() for p in model.parameters())
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    before = [p.clone() for p in model.parameters()]
    optimizer.step()
    assert equal(before, [p.detach() for p in model.parameters()])


@both
def test_options_may_change_and_groups_come_on_the_way(make):
    """As if the options had been those from the start, for the steps that they hold."""
    p, q = (torch.nn.Parameter(torch.zeros(3)) for _ in range(2))
    optimizer = make([p], 1.0)

    def step(*grads):
        for parameter, grad in zip((p, q), grads, strict=False):
            parameter.grad = torch.full((3,), grad)
        optimizer.step()

    step(1.0)
    optimizer.param_groups[0]["lr"] = 0.25
    step(1.0)
    assert p.tolist() == [-1.25] * 3
    optimizer.add_param_group({"params": [q], "lr": 2.0, "maximize": True})
    step(1.0, 1.0)
    assert p.tolist() == [-1.5] * 3 and q.tolist() == [2.0] * 3
    optimizer.param_groups[1]["maximize"] = False
    step(1.0, 100.0)
    assert p.tolist() == [-1.75] * 3 and q.tolist() == [0.0] * 3


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_resumes_bit_for_bit_from_state_dict_file_and_pickle(make, dtype):
    straight = model_of(dtype)
    expected = train(straight, make(straight.parameters(), 0.01, weight_decay=0.1), range(7))
    model = model_of(dtype)
    optimizer = make(model.parameters(), 0.01, weight_decay=0.1)
    train(model, optimizer, range(3))

    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    read = torch.load(file, weights_only=True)
    resumed = model_of(dtype)
    resumed.load_state_dict(read["model"])
    restored = make(resumed.parameters(), 5.0)
    restored.load_state_dict(read["optimizer"])
    assert equal(train(resumed, restored, range(3, 7)), expected)

    for copied in (copy.deepcopy((model, optimizer)), pickle.loads(pickle.dumps((model, optimizer)))):
        assert equal(train(*copied, range(3, 7)), expected)


@both
def test_old_pickles_get_the_new_flags(make):
    optimizer = make([torch.nn.Parameter(torch.zeros(1))])
    state = optimizer.__getstate__()
    del state["election"]
    for name in ("maximize", "foreach", "capturable", "differentiable", "fused"):
        del state["param_groups"][0][name]
    other = make.__new__(make)
    other.__setstate__(state)
    assert other.election is None
    assert other.param_groups[0]["foreach"] is None and other.param_groups[0]["maximize"] is False
    other.step()


@both
def test_init_state_makes_what_the_first_step_would(make):
    p, frozen = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16)), torch.nn.Parameter(torch.ones(2))
    frozen.requires_grad_(False)
    optimizer = make([p, frozen])
    optimizer.init_state()
    assert list(optimizer.state) == [p]
    buffer = optimizer.state[p][make.buffer]
    assert torch.equal(buffer, torch.zeros_like(p)) and buffer.dtype == p.dtype
    buffer.fill_(1.0)
    optimizer.init_state()
    assert optimizer.state[p][make.buffer] is buffer and (buffer == 1).all()
    code = ec.cyclic(3, 2)
    optimizer = make([p, frozen], election=ec.Election(code, InProcessTransport(3)))
    optimizer.init_state()
    assert sorted(optimizer.state[p][make.buffer + "s"]) == [0, 1, 2]
    optimizer = ec.Signum([p], momentum=0.0)
    optimizer.init_state()
    assert not optimizer.state


@both
def test_grad_scaler_works_alone_and_is_refused_with_an_election(make):
    model, scaled = model_of(), model_of()
    optimizer, under = make(model.parameters(), 0.01), make(scaled.parameters(), 0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(3):
        gradient_step(model, optimizer, step)
        under.zero_grad()
        x = torch.randn(4, 10, generator=torch.Generator().manual_seed(step))
        scaler.scale(scaled(x).square().sum()).backward()
        scaler.step(under)
        scaler.update()
    assert equal([*model.parameters()], [*scaled.parameters()])

    election = ec.Election(ec.uncoded(1), InProcessTransport(1))
    voting = make(scaled.parameters(), 0.01, election=election)
    voting.zero_grad()
    scaler.scale(scaled(x).sum()).backward()
    voting.cast(0)
    with pytest.raises(RuntimeError, match="GradScaler does not go with an election"):
        scaler.step(voting)
    voting.step()  # as the error says


@both
def test_sharded_parameters_step_like_whole_ones(make, tmp_path):
    """A DTensor of one process: its local part is all of it."""
    dist = pytest.importorskip("torch.distributed")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        whole = torch.nn.Parameter(torch.randn(6, 5))
        sharded = torch.nn.Parameter(distribute_tensor(whole.detach().clone(), mesh, [Shard(0)]))
        optimizers = make([whole], 0.1, weight_decay=0.5), make([sharded], 0.1, weight_decay=0.5)
        for _ in range(3):
            whole.grad = torch.randn(6, 5)
            sharded.grad = distribute_tensor(whole.grad.clone(), mesh, [Shard(0)])
            for optimizer in optimizers:
                optimizer.step()
        assert torch.equal(sharded.full_tensor(), whole)
        assert torch.equal(
            optimizers[1].state[sharded][make.buffer].full_tensor(), optimizers[0].state[whole][make.buffer]
        )
    finally:
        dist.destroy_process_group()


def test_tensors_that_an_optimizer_refuses():
    """What would be read or written beyond a tensor, or in another order, is refused before anything moves."""

    def step(p, grad=None, momentum=None, others=()):
        optimizer = ec.Signum([p, *others], lr=0.1, momentum=0.9)
        for q in optimizer.param_groups[0]["params"]:
            q.grad = torch.ones_like(q) if grad is None else grad
        if momentum is not None:
            optimizer.state[p]["momentum_buffer"] = momentum
        optimizer.step()

    def parameter(shape=(70,), **options):
        return torch.nn.Parameter(torch.zeros(shape, **options))

    gaps = torch.nn.Parameter(torch.zeros(140)[::2])
    one_for_all = torch.nn.Parameter(torch.zeros(1).expand(70))
    cases = [
        (lambda: step(gaps), ValueError, "parameters must be dense, got strides"),
        (lambda: step(one_for_all), ValueError, "parameters must be dense, got strides"),
        (lambda: step(parameter(), others=[parameter(device="meta")]), ValueError, "must all be on one device"),
        (lambda: step(parameter(device="meta")), TypeError, "must be on the CPU or a CUDA device, got meta"),
        (lambda: step(parameter(dtype=torch.float8_e5m2)), TypeError, "must have dtype float16 or"),
        (lambda: step(parameter(), momentum=torch.zeros(69)), ValueError, "momentum must have the dtype and shape"),
        (lambda: step(parameter(), momentum=torch.zeros(70).double()), ValueError, "momentum must have the dtype and"),
        (lambda: step(parameter(), momentum=torch.zeros(140)[::2][:69]), ValueError, "momentum must be of shape"),
        (lambda: step(parameter((3,)), grad=torch.ones(3).to_sparse()), ValueError, "gradients must be dense"),
    ]
    for call, kind, message in cases:
        with pytest.raises(kind, match=message):
            call()


def test_momentum_and_gradients_of_another_memory_format():
    """Each element meets its own: a checkpoint of a contiguous model goes on in one that is channels-last."""
    generator = torch.Generator().manual_seed(0)
    x, v, grad = (torch.randn(2, 3, 4, 5, generator=generator) for _ in range(3))
    ends = []
    for formats in ("ccc", "lcc", "ccl", "clc", "llc"):
        how = [torch.channels_last if f == "l" else torch.contiguous_format for f in formats]
        p = torch.nn.Parameter(x.clone().contiguous(memory_format=how[0]))
        p.grad = grad.contiguous(memory_format=how[1])
        optimizer = ec.Signum([p], lr=0.1, momentum=0.9)
        optimizer.state[p]["momentum_buffer"] = v.clone().contiguous(memory_format=how[2])
        optimizer.step()
        ends.append((p.detach(), optimizer.state[p]["momentum_buffer"]))
    assert all(torch.equal(a, b) for end in ends[1:] for a, b in zip(end, ends[0], strict=True))


def test_a_gradient_that_lies_with_the_other_sign():
    p = torch.nn.Parameter(torch.zeros(1))
    p.grad = torch.tensor([1 + 2j]).conj().imag
    assert p.grad.is_neg() and p.grad.item() == -2
    ec.Signum([p], lr=1.0, momentum=0.0).step()
    assert p.item() == 1.0


@both
def test_nothing_moves_where_one_parameter_cannot(make):
    """Parameters on two devices are refused before any takes its step, in whatever groups they are."""
    here, there = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3, device="meta"))
    for params, foreach in (([{"params": [here]}, {"params": [there]}], None), ([here, there], False)):
        optimizer = make(params, lr=0.1, foreach=foreach)
        for p in (here, there):
            p.grad = torch.ones_like(p)
        with pytest.raises(ValueError, match="must all be on one device, got cpu and meta"):
            optimizer.step()
        assert torch.equal(here, torch.ones(3)) and not optimizer.state


def test_a_gradient_that_is_still_under_way():
    """AsyncCollectiveTensor, as functional collectives return it, is waited for."""
    from torch.distributed._functional_collectives import AsyncCollectiveTensor

    p = torch.nn.Parameter(torch.zeros(70))
    p.grad = AsyncCollectiveTensor(torch.ones(70))
    ec.Signum([p], lr=1.0, momentum=0.0).step()
    assert torch.equal(p, -torch.ones(70))
