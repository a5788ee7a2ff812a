"""The CUDA operations, on a GPU and emulated on the CPU, equal the reference bit for bit."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import electioncode as ec
from electioncode import core, reference

torch = pytest.importorskip("torch")

from cuda_places import POLICIES, Place, assert_votes, example  # noqa: E402

HOST = Place("cpu")

DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
LENGTHS = [0, 1, 2, 63, 64, 65, 127, 2047, 2048, 2049, 5000]  # a tile is 2048 coordinates


def name(dtype) -> str:
    return np.dtype(dtype).name


def votes_of(rng, n, d, masked=False) -> ec.PackedSigns:
    bits = rng.random((n, d)) < rng.choice([0.3, 0.5, 0.7], d)
    mask = rng.random((n, d)) < 0.7 if masked else None
    words = reference.to_words(bits if mask is None else bits & mask)
    return ec.PackedSigns(words, d, None if mask is None else reference.to_words(mask))


@pytest.mark.parametrize("dtype", DTYPES, ids=name)
@pytest.mark.parametrize("nan", ["raise", "minus", "abstain"])
@pytest.mark.parametrize("zero", POLICIES)
def test_pack(place, rng, dtype, zero, nan):
    for d in LENGTHS:
        x = example(rng, d, dtype, nan != "raise")
        votes = ec.pack(place.floats(x), zero, nan, seed=5, step=7, stream=11)
        assert_votes(votes, *reference.pack(x, zero, nan, 5, 7, 11))


@pytest.mark.parametrize("dtype", DTYPES, ids=name)
def test_pack_rows_strides_and_alignment(place, rng, dtype):
    x = example(rng, 5 * 2200, dtype).reshape(5, 2200)
    t = place.floats(x)
    for ours, theirs in ((t, x), (t[:, 1:], x[:, 1:]), (t[::2], x[::2]), (t.t(), x.T), (t[:, ::3], x[:, ::3])):
        votes = ec.pack(ours, "random", seed=1, step=2, stream=2**32 - 2)
        rows = [reference.pack(r, "random", "raise", 1, 2, (2**32 - 2 + i) % 2**32)[0] for i, r in enumerate(theirs)]
        assert_votes(votes, np.stack(rows), None)
    out = ec.PackedSigns(place.words(np.full((5, 35), 2**64 - 1, dtype=np.uint64)), 2200)
    assert ec.pack(t, out=out) is out
    assert_votes(out, np.stack([reference.pack(row)[0] for row in x]), None)


def test_many_rows_take_several_launches(place, rng):
    x = rng.standard_normal((200, 70)).astype(np.float32)
    assert_votes(ec.pack(place.floats(x)), np.stack([reference.pack(row)[0] for row in x]), None)


def test_nan_is_raised_later(place, rng):
    x = rng.standard_normal(1000).astype(np.float32)
    x[999] = np.nan
    ec.pack(place.floats(x), nan="minus")
    ec.synchronize()
    votes = ec.pack(place.floats(x))
    with pytest.raises(ValueError, match=r"earlier call on .* was given NaN"):
        ec.synchronize()
    ec.synchronize()  # once
    ec.pack(place.floats(x))
    with pytest.raises(ValueError, match=r"earlier call on .* was given NaN"):
        votes.numpy()
    tally = ec.Tally(1000, 3)
    tally.add(place.floats(x))
    tally.add(votes)
    with pytest.raises(ValueError, match=r"earlier call on .* was given NaN"):
        tally.majority().to_bytes()
    assert tally.num_votes == 2


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


@pytest.mark.parametrize("tie", POLICIES)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 15, 16, 17, 32, 63, 64, 100, 255])
def test_majority(place, rng, n, tie):
    for d in (1, 64, 65, 700):
        votes = votes_of(rng, n, d)
        winner = ec.majority(place.votes(votes), tie, seed=1, step=2, stream=3)
        assert_votes(winner, *reference.majority(votes.words, d, tie, None, None, 1, 2, 3))


@pytest.mark.parametrize("n", [1, 15, 16, 63, 64, 460, 461, 1023, 1024, 4095])
def test_counters_at_their_limits(place, n):
    """All for, one more than half, half, all against: where a carry is lost, this shows. Long tables are uploaded."""
    d = 130
    for yes in sorted({0, n // 2, n // 2 + 1, n}):
        words = np.zeros((n, 3), dtype=np.uint64)
        words[:yes] = reference.to_words(np.ones(d, dtype=bool))
        mask = np.broadcast_to(reference.to_words(np.ones(d, dtype=bool)), words.shape).copy()
        score = 2 * yes - n
        for votes in (ec.PackedSigns(words, d), ec.PackedSigns(words, d, mask)):
            there = place.votes(votes)
            for tie in ("plus", "minus"):
                expected = score > 0 or (score == 0 and tie == "plus")
                assert (ec.majority(there, tie).unpack(torch.int8) == (1 if expected else -1)).all()
            assert (ec.majority(there, "abstain").unpack(torch.int8) == np.sign(score)).all()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("tie", POLICIES)
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 40])
def test_weights_and_masks(place, rng, n, tie, masked):
    for d in (1, 577):
        votes = votes_of(rng, n, d, masked)
        for weights in (
            None,
            rng.integers(-3, 4, n),
            rng.integers(0, 1000, n),
            np.zeros(n, dtype=int),
            [2**40 // n - 1] * n,
            [2**38, -(2**38), *[1] * (n - 2)] if n > 1 else [2**40],
        ):
            winner = ec.majority(place.votes(votes), tie, weights, seed=9, step=8)
            assert_votes(winner, *reference.majority(votes.words, d, tie, votes.mask, weights, 9, 8))


def test_rows_anywhere(place, rng):
    plain, masked = votes_of(rng, 4, 1000), votes_of(rng, 3, 1000, masked=True)
    rows = [plain[i] for i in range(4)] + [masked[i] for i in range(3)]
    there = [place.votes(row) for row in rows]
    words, masks = [r.words for r in rows], [r.mask for r in rows]
    for tie in POLICIES:
        assert_votes(ec.majority(there, tie), *reference.majority(words, 1000, tie, masks))
    winner, counts = ec.majority(there, "abstain", return_disagreement=True)
    result, voted = winner.numpy()
    expected = reference.disagreement(words, result, 1000, masks, voted)
    np.testing.assert_array_equal(counts.cpu().numpy(), expected)
    assert counts.dtype == torch.int64


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("n", [1, 3, 250])
def test_disagreement(place, rng, n, masked):
    for d in (1, 64, 40_000):
        votes = votes_of(rng, n, d, masked)
        for winner in (votes_of(rng, 1, d)[0], votes_of(rng, 1, d, True)[0]):
            counts = ec.disagreement(place.votes(votes), place.votes(winner))
            expected = reference.disagreement(votes.words, winner.words, d, votes.mask, winner.mask)
            np.testing.assert_array_equal(counts.cpu().numpy(), expected)


def codes(rng):
    mixed = (rng.random((20, 33)) < 0.6).astype(np.uint8)
    mixed[4] = mixed[2]
    yield ec.uncoded(5)
    yield ec.repetition(15, 3)
    yield ec.deterministic(9, 2)
    yield ec.cyclic(49, 25)  # staged in blocks of 64, with masks of 32
    yield ec.AllocationCode(mixed)
    yield ec.bernoulli(130, redundancy=100, seed=1)  # with masks not staged; a long table
    idle = (rng.random((7, 300)) < 0.5).astype(np.uint8)
    idle[3] = 0
    yield ec.AllocationCode(idle)  # more than 8 planes with masks


@pytest.mark.parametrize("tie", POLICIES)
@pytest.mark.parametrize("masked", [False, True])
def test_coded_votes(place, rng, tie, masked):
    for code in codes(rng):
        d = 195 if code.num_partitions > 60 else 700
        votes = votes_of(rng, code.num_partitions, d, masked)
        local = ec.local_majorities(place.votes(votes), code, tie, seed=3, step=1)
        words, mask = reference.local_majorities(votes.words, code.allocation, d, tie, votes.mask, 3, 1)
        assert_votes(local, words, mask)
        winner = ec.coded_majority(place.votes(votes), code, tie, seed=3, step=1)
        assert_votes(winner, *reference.majority(words, d, tie, mask, None, 3, 1))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_tally(place, data):
    """Masked and unmasked votes, floats, positive, negative and zero weights, in any order, from device and host."""
    d = data.draw(st.integers(0, 150))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    weights = data.draw(st.lists(st.integers(-20, 20), min_size=1, max_size=30))
    tally = ec.Tally(d, sum(map(abs, weights)) + 1)
    expected = np.zeros(d, dtype=np.int64)
    for i, w in enumerate(weights):
        x = rng.standard_normal(d).astype(np.float32)
        x[rng.random(d) < 0.3] = 0
        zero = data.draw(st.sampled_from(POLICIES))
        signs = ec.pack(x, zero, seed=5, step=6, stream=7)
        kind = data.draw(st.sampled_from(["floats", "votes", "host"])) if i else "votes"
        if kind == "floats":
            tally.add(place.floats(x), w, zero=zero, seed=5, step=6, stream=7)
        else:
            tally.add(signs if kind == "host" else place.votes(signs), w)
        expected += w * signs.unpack(np.int8).astype(np.int64)
    margin = tally.margin()
    assert margin.dtype == torch.int32
    np.testing.assert_array_equal(margin.cpu().numpy(), expected)
    at_tie = reference.random_bits(d, 2, 3, 4, 0)
    winner = tally.majority("random", seed=2, step=3, stream=4)
    assert_votes(winner, reference.to_words(np.where(expected == 0, at_tie, expected > 0)), None)
    tally.reset()
    tally.add(ec.pack(rng.standard_normal(d)))  # on the host: the counters move there
    assert tally.majority().backend.name == "numpy"


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


def test_tally_of_large_weights(place, rng):
    votes = ec.pack(rng.standard_normal((3, 100)))
    tally = ec.Tally(100, 2**40)
    weights = [2**38, -(2**38) + 1, 1]
    for i, weight in enumerate(weights):
        tally.add(place.votes(votes[i]), weight)
    assert_votes(tally.majority(), ec.majority(votes, weights=weights).words, None)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: ec.pack(p.floats(np.zeros(3)).int()), TypeError, r"x must have dtype .*, got torch\.int32"),
        (lambda p: ec.pack(p.floats(np.zeros(3)), out=ec.pack(np.zeros(3))), TypeError, "out must be PackedSigns"),
        (lambda p: ec.pack(p.floats(np.zeros(3))).unpack(torch.int32), TypeError, "dtype must be int8 or"),
        (
            lambda p: ec.majority([ec.pack(np.zeros(3)), ec.pack(p.floats(np.zeros(3)))]),
            TypeError,
            "every voter must be on the device of the first",
        ),
        (
            lambda p: ec.disagreement(ec.pack(p.floats(np.zeros((2, 3)))), ec.pack(np.zeros(3))),
            TypeError,
            "winner must be on the device of the votes",
        ),
        (
            lambda p: ec.pack(
                p.floats(np.zeros(200)), out=ec.PackedSigns(p.words(np.zeros(8, dtype=np.uint64))[::2], 200)
            ),
            ValueError,
            "out must be contiguous",
        ),
        (
            lambda p: ec.pack(
                p.floats(np.zeros((2, 200))),
                out=ec.PackedSigns(p.words(np.zeros(4, dtype=np.uint64)).expand(2, 4), 200),
            ),
            ValueError,
            "out must be contiguous",
        ),
    ],
)
def test_bad_input(place, call, error, message):
    with pytest.raises(error, match=message):
        call(place)


def test_frames_of_a_device(place, rng):
    x = rng.standard_normal(1000)
    votes = ec.pack(place.floats(x), "abstain")
    assert votes.to_bytes(step=3, sender=4) == ec.pack(x, "abstain").to_bytes(step=3, sender=4)
    assert votes == ec.pack(x, "abstain")
    assert "cuda" in repr(votes)


def test_the_benchmark(place, monkeypatch, rng):
    """bench/gpu.py: its checks find what is wrong, and every row that it would time runs."""
    spec = importlib.util.spec_from_file_location("gpu", Path(__file__).parents[2] / "bench" / "gpu.py")
    gpu = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gpu)
    monkeypatch.setattr(gpu, "DEVICE", place.device)
    assert gpu.check(torch, rng, (1, 700), 40) > 400
    with monkeypatch.context() as m, pytest.raises(AssertionError, match="pack float16 700 plus"):
        m.setattr(ec, "pack", lambda *a, pack=ec.pack, **k: pack(a[0] * (-1 if "out" in k else 1), *a[1:], **k))
        gpu.check(torch, rng, (700,))
    monkeypatch.setattr(gpu, "Sets", lambda torch, nbytes: [0])
    monkeypatch.setattr(gpu, "seconds_each", lambda torch, calls: [call() for call in calls] and 1.0)
    table = gpu.Table(torch)
    gpu.time_all(torch, table, 1000, (3, 15))
    few = gpu.resnet18_sizes()[1:3]
    monkeypatch.setattr(gpu, "resnet18_sizes", lambda: few)
    monkeypatch.setattr(gpu, "RESNET18", 128)
    gpu.time_step(torch, table)
    assert len(table.rows) == 11
    assert all(row["share_of_copy"] > 0 for row in table.rows)


def test_the_benchmark_refuses_where_there_is_no_gpu():
    if core.cuda_unavailable() is None:
        pytest.skip("there is a GPU")
    script = Path(__file__).parents[2] / "bench" / "gpu.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "measured nothing: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("at_end", [True, False])
def test_nothing_is_read_or_written_past_a_buffer(place, rng, at_end):
    """Every operation with every buffer next to a guard page, as far as memory of the host stands for a device's."""
    if place.device != "cpu":
        pytest.skip("compute-sanitizer sees it on a GPU: make gpu")
    from guard import guarded

    def tensor(values):
        a = guarded(values.nbytes, at_end).view(values.dtype)
        a[:] = values
        return torch.from_numpy(a)

    for d in (1, 63, 64, 65, 513, 2048, 2100):
        w = (d + 63) // 64

        def words(values=None, w=w):
            return tensor(rng.integers(-(2**63), 2**63, w) if values is None else values.view(np.int64))

        for dtype in (np.float16, np.float32, np.float64):
            x, v = (tensor(rng.standard_normal(d).astype(dtype)) for _ in range(2))
            for zero in ("plus", "random", "abstain"):
                out = ec.PackedSigns(words(), d, words() if zero == "abstain" else None)
                ec.pack(x, zero, out=out)
                out.unpack(out=v)
            p = torch.nn.Parameter(x)
            p.grad = v
            optimizer = ec.Signum([p], 0.1)
            optimizer.state[p]["momentum_buffer"] = tensor(rng.standard_normal(d).astype(dtype))
            optimizer.step()
        full = reference.to_words(np.ones(d, dtype=bool))
        for n in (1, 2, 16, 40):
            packed = ec.pack(rng.standard_normal((n, d)))
            rows = [ec.PackedSigns(words(row), d) for row in packed.words]
            for tie in ("plus", "random", "abstain"):
                out = ec.PackedSigns(words(), d, words() if tie == "abstain" else None)
                for voters in (rows, [ec.PackedSigns(r.words, d, words(full)) for r in rows]):
                    assert ec.majority(voters, tie, out=out) == ec.majority(packed, tie)
            ec.disagreement(rows, rows[0])
            tally = ec.Tally(d, 2 * n)
            for row in rows:
                tally.add(row)
                tally.add(ec.PackedSigns(row.words, d, words(full)))
            tally.margin()
        flat = tensor(ec.pack(rng.standard_normal((9, d))).words.view(np.int64).reshape(-1))
        votes = ec.PackedSigns(flat.view(9, w), d)
        for code in (ec.deterministic(9, 2), ec.bernoulli(9, redundancy=3, seed=1)):
            ec.local_majorities(votes, code, "abstain")
            ec.coded_majority(votes, code, "random")


def test_graphs_and_streams(place, rng):
    """On a GPU: calls are captured in a graph and replayed on new data, on a stream that is not the default."""
    if place.device == "cpu":
        pytest.skip("needs a GPU: the emulation has neither streams nor graphs")
    x = torch.randn(9, 5000, device=place.device)
    votes, code = ec.pack(x), ec.deterministic(9, 2)

    def step():
        ec.pack(x, out=votes)
        return (*ec.majority(votes, "random", return_disagreement=True), ec.coded_majority(votes, code))

    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        step()  # once before it is captured: kernels are loaded at their first launch
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            winner, counts, coded = step()
        x.copy_(torch.from_numpy(rng.standard_normal((9, 5000))))
        graph.replay()
        torch.cuda.current_stream().synchronize()
        again = ec.pack(x.cpu().numpy())
    assert winner == ec.majority(again, "random")
    np.testing.assert_array_equal(counts.cpu().numpy(), ec.disagreement(again, ec.majority(again, "random")))
    assert coded == ec.coded_majority(again, code)


def test_on_a_gpu():
    """Says where all tests of this file ran: they have a variant "gpu" only where there is one."""
    why = core.cuda_unavailable()
    if why:
        pytest.skip(f"the CUDA operations were tested emulated alone, and not on a GPU: {why}")
    x = torch.randn(1000, device="cuda")
    assert ec.pack(x).words.device == x.device
