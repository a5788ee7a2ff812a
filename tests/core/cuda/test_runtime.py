"""All CUDA operations refuse bad input, stay inside buffers, and follow streams and graphs."""

from __future__ import annotations

import numpy as np
import pytest

import electioncode as ec
from electioncode import core, reference

torch = pytest.importorskip("torch")


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
    """State where the tests of this folder ran: they have a variant "gpu" only where there is one."""
    why = core.cuda_unavailable()
    if why:
        pytest.skip(f"the CUDA operations were tested emulated alone, and not on a GPU: {why}")
    x = torch.randn(1000, device="cuda")
    assert ec.pack(x).words.device == x.device
