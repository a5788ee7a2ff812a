"""The DDP hook: every rank's gradients against votes made by hand, several buckets, liars, checkpoints, misuse."""

from __future__ import annotations

import io
import pickle
import warnings

import torch
import torch._dynamo  # every optimizer needs it: once, before the ranks are forked
import torch.distributed as dist
from checks import emulated, raised  # noqa: F401 (a scenario)
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_wrapper
from torch.nn.parallel import DistributedDataParallel as DDP

import electioncode as ec
from electioncode import attacks
from electioncode.core import backend
from electioncode.hooks import MajorityVoteState, majority_vote_hook

MOMENTUM = 0.9


def network(dtype=torch.float32) -> nn.Module:
    """Return a network with parameters of many sizes, one of them channels-last."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Tanh(), nn.Linear(80, 33), nn.Tanh(), nn.Linear(33, 70))
    head = nn.Sequential(nn.Tanh(), nn.Linear(70, 64, bias=False), nn.LayerNorm(64), nn.Linear(64, 3))
    return nn.Sequential(body, head).to(dtype).to(memory_format=torch.channels_last)


def batch(step: int, partition: int, dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1000 * step + partition)
    return torch.randn(4, 3, 6, 6, generator=generator).to(dtype), torch.randint(0, 3, (4,), generator=generator)


def loss(model: nn.Module, step: int, partition: int, dtype=torch.float32) -> torch.Tensor:
    x, y = batch(step, partition, dtype)
    return nn.functional.cross_entropy(model(x).float(), y)


def wrapped(model: nn.Module, code=None, hook=majority_vote_hook, ddp=None, **options):
    model = DDP(model, **{"bucket_cap_mb": 0.002, **(ddp or {})})
    state = MajorityVoteState(model, code, **{"momentum": MOMENTUM, "verify_every": 1, **options})
    buckets = []

    def counted(state, bucket):
        buckets.append(bucket.index())
        return hook(state, bucket)

    model.register_comm_hook(state, counted)
    return model, state, buckets


def train(code=None, steps=range(2), resume=None, lr=0.01, garbage=False, **options):
    """Train; return the parameters at the end, the state, and a checkpoint of everything."""
    model, state, buckets = wrapped(network(), code, **options)
    if garbage:
        draw = torch.Generator().manual_seed(dist.get_rank())
        state._voter.message = lambda layout, *_: torch.randint(
            -(2**63), 2**63 - 1, (state._bucket_vote.message_words(layout),), generator=draw
        )
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    if resume is not None:
        model.module.load_state_dict(resume["model"])
        state.load_state_dict(resume["state"])
    for step in steps:
        if len(state.partitions) > 1:
            for partition in state.partitions:
                with state.partition(partition):
                    loss(model, step, partition).backward()
        else:
            optimizer.zero_grad()
            loss(model, step, state.partitions[0]).backward()
        optimizer.step()
        all_equal(model)
    assert max(buckets) >= 3, "one bucket shows nothing"
    return flat(model), state, {"model": model.module.state_dict(), "state": state.state_dict()}


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def all_equal(model: nn.Module) -> None:
    """Assert that all ranks, honest or not, hold the same parameters: they have all heard the same."""
    mine = flat(model)
    everybodys = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(everybodys, mine)
    assert all(torch.equal(mine, theirs) for theirs in everybodys)


def by_hand(signs: torch.Tensor, code: ec.AllocationCode) -> torch.Tensor:
    """Return the vote on (k, ...) signs +1, -1 and 0, where a tie is +1."""
    rows = []
    for worker in range(code.num_workers):
        s = sum(signs[j] for j in code.partitions(worker))
        rows.append(torch.where(s >= 0, 1, -1))
    return torch.where(sum(rows) >= 0, 1, -1)


def votes(kind: str, *dtypes: str) -> None:
    """Gradients after backward are the votes made by hand from everybody's gradients, in all dtypes."""
    n = dist.get_world_size()
    code = {"uncoded": ec.uncoded, "cyclic": lambda n: ec.cyclic(n, 2), "repetition": lambda n: ec.repetition(n, 1)}[
        kind
    ](n)
    for name in dtypes or ("float32",):
        dtype = getattr(torch, name)
        model, state, buckets = wrapped(network(dtype), code)
        twin = network(dtype)
        momenta = [[torch.zeros_like(p) for p in twin.parameters()] for _ in range(code.num_partitions)]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for step in range(3):
            if len(state.partitions) > 1:
                for j in state.partitions:
                    with state.partition(j):
                        loss(model, step, j, dtype).backward()
            else:
                optimizer.zero_grad()
                loss(model, step, state.partitions[0], dtype).backward()
            twin.load_state_dict(model.module.state_dict())
            signs = [[] for _ in momenta[0]]
            for j, buffers in enumerate(momenta):
                twin.zero_grad()
                loss(twin, step, j, dtype).backward()
                for v, p, s in zip(buffers, twin.parameters(), signs, strict=True):
                    v.copy_(v * MOMENTUM + p.grad * (1 - MOMENTUM))
                    s.append(torch.where(v >= 0, 1, -1))
            for (label, p), s in zip(model.module.named_parameters(), signs, strict=True):
                assert p.grad.dtype == dtype
                assert torch.equal(p.grad.to(torch.int64), by_hand(torch.stack(s), code)), (kind, name, step, label)
            optimizer.step()
            all_equal(model)
        assert max(buckets) >= 3


def liars(b: str) -> None:
    """b lying ranks, in every way, change no bit of a coded run; without a code they do."""
    n, b = dist.get_world_size(), int(b)
    codes = [ec.repetition(n, 1)]
    if n == 3:
        codes.append(ec.deterministic(n, 1))
    assert all(ec.tolerance(code).num_byzantine >= b for code in codes)
    lying = range(b)
    for code in codes:
        honest, _, _ = train(code)
        for attack in (attacks.reverse(), attacks.random(seed=3)):
            attacked, _, _ = train(code, byzantine=dict.fromkeys(lying, attack))
            assert torch.equal(attacked, honest), (code.name, attack)
        garbage, _, _ = train(code, garbage=dist.get_rank() in lying)
        assert torch.equal(garbage, honest), (code.name, "garbage")
    honest, _, _ = train()
    attacked, _, _ = train(byzantine=dict.fromkeys(lying, attacks.reverse()))
    assert not torch.equal(attacked, honest), "the attack does nothing"


def policies() -> None:
    """Whatever the policies, all ranks agree; random draws do not depend on buckets."""
    n = dist.get_world_size()
    cyclic = ec.cyclic(n, 2)
    cases = [(None, "abstain", "abstain"), (None, "random", "random"), (cyclic, "random", "random")]
    for code, tie, zero in [*cases, (cyclic, "abstain", "minus")]:
        rules = {"tie": tie, "zero": zero, "seed": 3}
        small, _, _ = train(code, **rules)
        large, _, _ = wrapped_in_one_bucket(code, **rules)
        assert torch.equal(small, large), (tie, zero)


def wrapped_in_one_bucket(code, **rules):
    global wrapped
    several = wrapped

    def one(model, code=None, **options):
        model = DDP(model)
        state = MajorityVoteState(model, code, momentum=MOMENTUM, **options)
        model.register_comm_hook(state, majority_vote_hook)
        return model, state, [3]

    wrapped = one
    try:
        return train(code, **rules)
    finally:
        wrapped = several


def views() -> None:
    """DDP's own options change nothing."""
    for code in (None, ec.cyclic(dist.get_world_size(), 2)):
        plain, _, _ = train(code)
        for options in ({"gradient_as_bucket_view": True}, {"static_graph": True}):
            if code is not None and "static_graph" in options:
                continue  # which PyTorch does not allow together with no_sync
            changed, _, _ = train(code, ddp=options)
            assert torch.equal(plain, changed), (code, options)


class Branches(nn.Module):
    """A model in which rank r uses branch r % 2, and nobody uses the third."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.branches = nn.ModuleList([nn.Linear(70, 70) for _ in range(3)])
        self.head = nn.Linear(70, 2)

    def forward(self, x, which):
        return self.head(self.branches[which](x))


def unused() -> None:
    """A rank that does not use a parameter does not vote on it; a parameter that nobody uses gets no gradient."""
    rank, n = dist.get_rank(), dist.get_world_size()
    model = Branches()
    twin = Branches()
    model, _, buckets = wrapped(model, ddp={"find_unused_parameters": True}, tie="abstain", momentum=0.0)
    for step in range(3):
        model.zero_grad()
        x = torch.randn(n, 5, 70, generator=torch.Generator().manual_seed(step))
        model(x[rank], rank % 2).square().sum().backward()
        twin.load_state_dict(model.module.state_dict())
        total = {name: torch.zeros_like(p) for name, p in twin.named_parameters()}
        for r in range(n):
            twin.zero_grad()
            twin(x[r], r % 2).square().sum().backward()
            for name, p in twin.named_parameters():
                if p.grad is not None:
                    total[name] += torch.where(p.grad >= 0, 1.0, -1.0)
        for name, p in model.module.named_parameters():
            if name.startswith("branches.2"):
                assert p.grad is None, name
            else:
                assert torch.equal(p.grad, total[name].sign()), (step, name)
    assert max(buckets) >= 3


def checkpoints() -> None:
    """A resumed run is the run that was not interrupted, bit for bit, also through pickle and torch.save."""
    n = dist.get_world_size()
    for code, rules in ((None, {"tie": "random", "zero": "random"}), (ec.cyclic(n, 2), {})):
        straight, _, _ = train(code, range(5), **rules)
        _, state, saved = train(code, range(2), **rules)
        memory = io.BytesIO()
        torch.save(saved, memory)
        memory.seek(0)
        resumed, _, _ = train(code, range(2, 5), resume=torch.load(memory), **rules)
        assert torch.equal(resumed, straight)
        empty = {**saved, "state": {**saved["state"], "momentum_buffers": {}}}
        forgetful, _, _ = train(code, range(2, 5), resume=empty, **rules)
        assert not torch.equal(forgetful, straight)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        copy = pickle.loads(pickle.dumps(state))
    assert "call state.bind(model)" in str(caught[0].message)
    model = DDP(network())
    model.register_comm_hook(copy, majority_vote_hook)
    raised(lambda: loss(model, 0, 0).backward(), RuntimeError, "call state.bind(model)")
    copy.bind(model)
    assert copy.step == 2 and copy.group is model.process_group
    for j, buffers in copy.momentum_buffers.items():
        assert all(torch.equal(b, state.momentum_buffers[j][name]) for name, b in buffers.items())
    wrong = {**saved["state"], "momentum": 0.5}
    raised(lambda: state.load_state_dict(wrong), ValueError, "momentum must be 0.5 as in the checkpoint, got 0.9")
    alien = {**saved["state"], "momentum_buffers": {99: {}}}
    raised(lambda: state.load_state_dict(alien), ValueError, "momentum must be of this rank's partitions")
    sizes = {**saved["state"], "momentum_buffers": {state.partitions[0]: {"0.0.weight": torch.zeros(3)}}}
    raised(lambda: state.load_state_dict(sizes), ValueError, "'0.0.weight' must have 135 elements, got 3")


def gradients_of(twin: nn.Module, step: int, n: int) -> list[tuple[torch.Tensor, ...]]:
    """Return the gradients of n partitions for each parameter."""
    rows = []
    for j in range(n):
        twin.zero_grad()
        loss(twin, step, j).backward()
        rows.append([p.grad.clone() for p in twin.parameters()])
    return list(zip(*rows, strict=True))


def dense() -> None:
    """With trusted workers small parameters are averaged, the others voted on; and what that sends."""
    n, rank = dist.get_world_size(), dist.get_rank()
    model, state, buckets = wrapped(network(), momentum=0.0, min_size=100, trusted_workers=True, verify_every=0)
    loss(model, 0, rank).backward()
    everybodys = gradients_of(network(), 0, n)
    sent = 0
    for grads, p in zip(everybodys, model.parameters(), strict=True):
        if p.numel() < 100:
            torch.testing.assert_close(p.grad, sum(grads) / n)
            sent += 2 * (n - 1) / n * 4 * p.numel()
        else:
            votes = sum(torch.where(g >= 0, 1, -1) for g in grads)
            assert torch.equal(p.grad, torch.where(votes >= 0, 1.0, -1.0))
            sent += (n - 1) * 8 * -(-p.numel() // 64)
    flags = (n - 1) * 8 * len(set(buckets))
    assert sent <= state.bytes_sent <= sent + flags + 2 * n * len(buckets), (sent, state.bytes_sent, flags)
    averaged, _, _ = wrapped(network(), min_size=10**6, trusted_workers=True)
    loss(averaged, 0, rank).backward()
    for grads, p in zip(everybodys, averaged.parameters(), strict=True):
        torch.testing.assert_close(p.grad, sum(grads) / n)


def wrapper() -> None:
    """PyTorch's compressing wrappers hand over buckets of another dtype."""
    model, state, _ = wrapped(network(), hook=bf16_compress_wrapper(majority_vote_hook))
    for step in range(2):
        loss(model, step, dist.get_rank()).backward()
    for p in model.parameters():
        assert p.grad.dtype == torch.float32 and set(p.grad.unique().tolist()) <= {-1.0, 1.0}
    assert {b.dtype for b in state.momentum_buffers[dist.get_rank()].values()} == {torch.bfloat16}


def differing() -> None:
    """A rank whose winner differs is named, one step later."""
    odd = dist.get_world_size() - 1
    model, state, _ = wrapped(network())
    if dist.get_rank() == odd:
        count, steps = state._voter.count, []

        def tampered(layout, inbox, values, step):
            steps.append(step)
            if step == 1 and steps.count(1) == 3:
                inbox[:, 8:] ^= 255
            return count(layout, inbox, values, step)

        state._voter.count = tampered
    for step in range(3):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run = loss(model, step, dist.get_rank()).backward
            if step == 2 and dist.get_rank() == odd:
                raised(run, RuntimeError, f"rank {odd} disagrees with the majority of ranks")
            else:
                run()
        texts = [str(w.message) for w in caught if "exchange" in str(w.message)]
        named = [f"exchange 2: ranks [{odd}] report results that differ from the majority's"]
        assert texts == (named if step == 2 and dist.get_rank() != odd else []), texts


def misuse() -> None:
    n = dist.get_world_size()
    model = DDP(network())
    raised(lambda: MajorityVoteState(model, momentum=1.0), ValueError, "momentum must be in [0, 1)")
    raised(lambda: MajorityVoteState(model, min_size=10), ValueError, "trusted_workers=True")
    options = {"min_size": 10, "trusted_workers": True}
    raised(lambda: MajorityVoteState(model, ec.cyclic(n, 2), **options), ValueError, "several partitions")
    raised(lambda: MajorityVoteState(model, verify_every=-1), ValueError, "verify_every must be at least 0")
    raised(lambda: MajorityVoteState(model, tie="up"), ValueError, "tie must be one of")
    raised(lambda: MajorityVoteState(model, ec.uncoded(n + 1)), ValueError, f"each of the {n} ranks, got {n + 1}")
    raised(lambda: majority_vote_hook(None, (torch.zeros(1), torch.zeros(1))), TypeError, "python_reducer")
    embedding, _, _ = wrapped(nn.Embedding(10, 4, sparse=True))
    raised(lambda: embedding(torch.tensor([1])).sum().backward(), ValueError, "must be dense, got a sparse one")
    spoiled, _, _ = wrapped(network())
    raised(lambda: (loss(spoiled, 0, 0) * float("nan")).backward(), ValueError, "NaN in the gradient")
    several, state, _ = wrapped(network(), ec.cyclic(n, 2))
    raised(lambda: loss(several, 0, 0).backward(), RuntimeError, "are not cast yet; compute each in")
    raised(lambda: state.partition(99).__enter__(), ValueError, "is not of this rank")
    several, state, _ = wrapped(network(), ec.cyclic(n, 2))
    with state.partition(state.partitions[0]):
        loss(several, 0, 0).backward()
    raised(lambda: state.partition(state.partitions[0]).__enter__(), ValueError, "was already cast in this step")
    scaler = torch.amp.GradScaler("cpu")  # the last test of a launch: it stays
    loss(wrapped(network())[0], 0, 0).backward()  # it has scaled nothing
    scaled, _, _ = wrapped(network())
    raised(lambda: scaler.scale(loss(scaled, 0, 0)).backward(), RuntimeError, "GradScaler has scaled a loss")
    allowed, _, _ = wrapped(network(), allow_grad_scaler=True)
    loss(allowed, 0, 0).backward()


def compiled() -> None:
    """torch.compile around DDP leaves the hook and its result as they are."""
    model, _, _ = wrapped(network(), ddp={"bucket_cap_mb": 25})
    plain, _, _ = wrapped(network(), ddp={"bucket_cap_mb": 25})
    fast = torch.compile(model, backend="aot_eager")
    for step in range(2):
        loss(fast, step, dist.get_rank()).backward()
        loss(plain, step, dist.get_rank()).backward()
        for p, q in zip(model.parameters(), plain.parameters(), strict=True):
            assert torch.equal(p.grad.sign(), p.grad) and p.grad.abs().max() == 1
            assert (p.grad != q.grad).float().mean() < 0.1  # gradients may round differently


def across() -> None:
    """A run on a device ends as the same run on the CPU, whatever the policies; a NaN raises."""
    rules = [{}, {"tie": "random", "zero": "random"}, {"tie": "abstain", "zero": "abstain"}, {"zero": "minus"}]
    codes = [None, ec.cyclic(dist.get_world_size(), 2)]
    device = backend._torch
    for code in codes:
        for options in rules:
            there, _, _ = train(code, **options)
            backend._torch = None
            here, _, _ = train(code, **options)
            backend._torch = device
            assert torch.equal(there, here), (code, options)
    model, _, _ = wrapped(network())
    steps = ((loss(model, step, 0) * value).backward() for step, value in enumerate((float("nan"), 1.0)))
    raised(lambda: list(steps), ValueError, "was given NaN")
