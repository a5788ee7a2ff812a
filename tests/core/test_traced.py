"""The operators of torch.library, and the public functions and optimizers under torch.compile and torch.export."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import electioncode as ec

torch = pytest.importorskip("torch")
pytest.importorskip("torch._dynamo")

from electioncode.core import traced  # noqa: E402

ops = torch.ops.electioncode
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
checks = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")


@pytest.fixture(autouse=True)
def forget_graphs():
    torch.compiler.reset()


def check(op, *arguments):
    assert torch.library.opcheck(op, arguments) == dict.fromkeys(checks, "SUCCESS")


def floats(*shape, dtype=torch.float32, seed=0):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return torch.where(torch.rand(x.shape, generator=torch.Generator().manual_seed(seed + 1)) < 0.2, 0.0, x).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_opcheck_pack_and_unpack(dtype):
    check(ops.pack.default, floats(130, dtype=dtype), "plus", "raise", 0, 0, 0)
    check(ops.pack.default, floats(3, 70, dtype=dtype).requires_grad_(), "random", "abstain", 1, 2, 3)
    votes = ec.pack(floats(3, 70), zero="abstain")
    check(ops.unpack.default, votes.words, votes.mask, 70, dtype)
    check(ops.unpack.default, votes.words[0], None, 70, torch.int8)


def test_opcheck_votes():
    votes = ec.pack(floats(5, 130), zero="abstain")
    rows = list(votes.words), list(votes.mask)
    winner = ec.majority(votes)
    for words, masks in (([votes.words], [None]), ([votes.words], [votes.mask]), rows, (rows[0], [None] * 5)):
        check(ops.majority.default, words, masks, 130, "plus", None, 0, 0, 0)
        check(ops.majority.default, words, masks, 130, "abstain", [1, -2, 3, 0, 5], 1, 2, 3)
        check(ops.disagreement.default, words, masks, winner.words, None, 130)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_opcheck_fused_updates(dtype):
    shapes = (5, 7), (64,), (3, 3, 3, 3), (0,)
    grads, momenta, params = ([floats(*s, dtype=dtype, seed=i) for s in shapes] for i in range(3))
    momenta[2] = momenta[2].contiguous(memory_format=torch.channels_last)
    grads[2] = grads[2].contiguous(memory_format=torch.channels_last)
    for split in ([], [0.99, 0.01]):
        arguments = grads, momenta, 0.9, 0.1, False, True, "abstain", "raise", 0, 0, 0, split
        check(ops.pack_tensors.default, *arguments)
    check(ops.pack_tensors.default, grads, [], 0.0, 1.0, True, False, "random", "minus", 1, 2, 3, [])
    planes = ops.pack_tensors(grads, [], 0.0, 1.0, False, True, "abstain", "raise", 0, 0, 0, [])
    lr = torch.tensor(0.1, dtype=torch.float64)
    check(ops.update_tensors.default, params, planes[0], planes[1], lr, 0.1)
    check(ops.update_tensors.default, params, planes[0], None, lr, 0.0)


def everything(x, step):
    votes = ec.pack(x, zero="random", nan="abstain", seed=5, step=step)
    winner, counts = ec.majority(votes, "random", seed=5, step=step, return_disagreement=True)
    some = ec.majority([votes[0], votes[2], votes[1]], "abstain", weights=[2, 1, -1])
    against = ec.disagreement(votes, some)
    return winner, counts, some, against, winner.unpack(), some.unpack(torch.float16), votes.unpack(torch.int8)


def same(a, b):
    def one(p, q):
        return p.dtype == q.dtype and torch.equal(p, q) if isinstance(p, torch.Tensor) else p == q

    return all(one(p, q) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("backend", "dtype"), [("eager", torch.float32), ("aot_eager", torch.bfloat16), ("aot_eager", torch.float64)]
)
def test_public_functions_compile_without_a_graph_break(backend, dtype):
    """Several sizes and steps: the second makes the graph dynamic, and no more are compiled."""
    torch._dynamo.utils.counters.clear()
    compiled = torch.compile(everything, fullgraph=True, backend=backend)
    for step, d in enumerate((130, 1000, 64, 777, 1)):
        x = floats(5, d, dtype=dtype, seed=step)
        x[0, 0] = float("nan")
        assert same(compiled(x, step), everything(x, step))
    counters = torch._dynamo.utils.counters
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] <= 4


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
def test_inductor():
    def vote(x):
        return ec.majority(ec.pack(2 * x - 1)).unpack() * 0.5

    x = floats(7, 3, 50).flatten(1)
    assert torch.equal(torch.compile(vote, fullgraph=True)(x), vote(x))


def test_votes_go_in_and_out_of_graphs():
    votes, out = ec.pack(floats(5, 100), zero="abstain"), ec.pack(floats(100), zero="abstain")
    signs = torch.empty(100)

    def vote(votes, out, signs):
        return ec.majority(votes, "abstain", out=out), out.unpack(out=signs)

    winner, unpacked = torch.compile(vote, fullgraph=True, backend="aot_eager")(votes, out, signs)
    expected = ec.majority(votes, "abstain")
    assert winner == expected and winner is out and out.words.data_ptr() == winner.words.data_ptr()
    assert unpacked is signs and torch.equal(signs, expected.unpack())
    x = floats(100, seed=4).requires_grad_()
    packed = torch.compile(lambda x: ec.pack(x * 2), fullgraph=True, backend="aot_eager")(x)
    assert packed == ec.pack(x.detach()) and not packed.words.requires_grad


def test_errors_in_graphs():
    def pack(x, **policies):
        return ec.pack(x, **policies).words

    compiled = torch.compile(pack, backend="aot_eager")
    with pytest.raises(ValueError, match="pack: x has NaN"):
        compiled(torch.tensor([1.0, float("nan")]))
    with pytest.raises(ValueError, match="zero must be one of"):
        compiled(torch.ones(3), zero="maybe")
    with pytest.raises(ValueError, match=r"x must have shape"):
        compiled(torch.ones(3, 3, 3))


@pytest.mark.parametrize("strict", [True, False])
def test_export(strict):
    class Vote(torch.nn.Module):
        def forward(self, x):
            return ec.majority(ec.pack(x), "random", seed=3).unpack()

    x = floats(4, 100)
    program = torch.export.export(Vote(), (x,), strict=strict)
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert {ops.pack.default, ops.majority.default, ops.unpack.default} <= set(called)
    assert torch.equal(program.module()(x), Vote()(x))


def test_eager_calls_do_not_take_the_detour(monkeypatch):
    for name in ("pack", "unpack", "majority", "disagreement", "ops"):
        monkeypatch.setattr(traced, name, None)
    x = floats(5, 100)
    for kind in (x, torch.nn.Parameter(x), x.numpy()):
        votes = ec.pack(kind)
        ec.disagreement(votes, ec.majority(votes))
        ec.majority([votes[0], votes[1]]).unpack()


def linear():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(10, 7), torch.nn.Linear(7, 3))


@pytest.mark.parametrize("make", [ec.Signum, ec.Lion])
@pytest.mark.parametrize("lr", ["number", "tensor"])
@pytest.mark.filterwarnings("ignore:Profiler record function")
def test_optimizer_steps_compile_without_a_graph_break(make, lr):
    torch._dynamo.utils.counters.clear()
    models, optimizers = (linear(), linear()), []
    for model in models:
        rate = torch.tensor(0.01) if lr == "tensor" else 0.01
        groups = [{"params": model[0].parameters()}, {"params": model[1].parameters(), "maximize": True}]
        optimizers.append(make(groups, rate, weight_decay=0.1))
    steps = optimizers[0].step, torch.compile(optimizers[1].step, fullgraph=True, backend="aot_eager")
    schedules = [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9) for optimizer in optimizers]
    for n in range(8):
        for model, step, schedule in zip(models, steps, schedules, strict=True):
            model.zero_grad()
            x = floats(4, 10, seed=n)
            x[:, 4] = 0  # no gradient there: a parameter that stays
            model(x).square().sum().backward()
            if n == 5:
                model[0].bias.grad = None
            step()
            if lr == "tensor":  # a number is a constant of the graph
                schedule.optimizer._opt_called = True  # the scheduler's wrapper came after the compiled step
                schedule.step()
        for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
            assert torch.equal(a, b)
            assert torch.equal(*(o.state[p][make.buffer] for o, p in zip(optimizers, (a, b), strict=True)))
    changes = 8 if lr == "tensor" else 0
    assert float(optimizers[1].param_groups[0]["lr"]) == pytest.approx(0.01 * 0.9**changes)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 4
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.filterwarnings("ignore:Profiler record function")
@pytest.mark.parametrize("make", [ec.Signum, ec.Lion])
def test_elections_run_between_graphs(make):
    """A compiled training step with an election in it breaks there, and gives the same bits."""
    from electioncode.transport import InProcessTransport

    def run(wrap):
        model = linear()
        election = ec.Election(ec.uncoded(3), InProcessTransport(3), tie="random")
        optimizer = make(model.parameters(), 0.01, election=election)

        def train(step):
            for partition in range(3):
                optimizer.zero_grad()
                model(floats(4, 10, seed=7 * step + partition)).square().sum().backward()
                optimizer.cast(partition)
            optimizer.step()

        train = wrap(train)
        for step in range(3):
            train(step)
        assert election.stats.steps == 3
        return [p.detach() for p in model.parameters()]

    compiled = run(lambda f: torch.compile(f, backend="eager"))
    assert same(compiled, run(lambda f: f))


def test_a_first_call_may_be_compiled_and_importing_loads_nothing():
    """With electioncode imported before torch, nothing has registered the operators when tracing begins."""
    code = (
        "import sys, electioncode as ec\n"
        "assert 'torch' not in sys.modules\n"
        "import torch\n"
        "assert 'electioncode.core.traced' not in sys.modules\n"
        "f = torch.compile(lambda x: ec.majority(ec.pack(x)).unpack(), fullgraph=True, backend='eager')\n"
        "x = torch.randn(5, 100)\n"
        "assert torch.equal(f(x), torch.sign(torch.sign(x).sum(0)))\n"
        "ec.pack(x)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_numpy_stays_numpy():
    assert isinstance(ec.majority(ec.pack(np.ones((3, 5)))).unpack(), np.ndarray)
