"""What the experiments are made of: CIFAR-10, ResNet-18, momentum at the server, schemes, colluders, sums."""

from __future__ import annotations

import os
import pickle
from fractions import Fraction

import numpy as np
import pytest

import electioncode as ec

torch = pytest.importorskip("torch")

from electioncode.lab.figures import figures, summary  # noqa: E402
from electioncode.lab.training import cifar, contenders, datasets, models, runner  # noqa: E402
from electioncode.lab.training.models import batch_norms, calibrate  # noqa: E402
from electioncode.transport import InProcessTransport  # noqa: E402

# ---- CIFAR-10 and ResNet-18


def write_batches(folder, kind, count=6):
    rng = np.random.default_rng(3)
    images = []
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        data = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = rng.integers(0, 10, count)
        if kind == "binary":
            (folder / f"{name}.bin").write_bytes(np.column_stack([labels, data]).astype(np.uint8).tobytes())
        else:
            content = {b"batch_label": b"x", b"labels": labels.tolist(), b"data": data, b"filenames": [b"a.png"]}
            (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        images.append((data, labels))
    return images


@pytest.mark.parametrize("kind", ["pickle", "binary"])
@pytest.mark.parametrize("inside", [False, True])
def test_batches_are_read(tmp_path, kind, inside):
    folder = tmp_path / ("cifar-10-batches-py" if kind == "pickle" else "cifar-10-batches-bin") if inside else tmp_path
    folder.mkdir(exist_ok=True)
    written = write_batches(folder, kind)
    images, labels, test_images, test_labels = cifar.read(tmp_path)
    assert (images.shape, images.dtype) == ((30, 3, 32, 32), np.uint8)
    assert (test_images.shape, labels.dtype) == ((6, 3, 32, 32), np.int64)
    np.testing.assert_array_equal(images.reshape(30, -1), np.concatenate([data for data, _ in written[:5]]))
    np.testing.assert_array_equal(labels, np.concatenate([labels for _, labels in written[:5]]))
    np.testing.assert_array_equal(test_labels, written[5][1])
    data = datasets.load(str(tmp_path), 20, 5)
    assert (len(data), len(data.test), data.shift, data.flip) == (20, 5, 4, True)


def test_batches_that_are_broken_are_refused(tmp_path):
    write_batches(tmp_path, "pickle")
    (tmp_path / "data_batch_3").unlink()
    with pytest.raises(ValueError, match="must hold data_batch_3, has none"):
        cifar.read(tmp_path)
    (tmp_path / "data_batch_3").write_bytes(pickle.dumps(os.system))
    with pytest.raises(ValueError, match=r"data_batch_3 is not a pickled batch: it asks for posix\.system"):
        cifar.read(tmp_path)
    (tmp_path / "data_batch_3").write_bytes(pickle.dumps({b"data": np.zeros((2, 5), np.uint8), b"labels": [1, 2]}, 2))
    with pytest.raises(ValueError, match=r"uint8 data \(2, 3072\), got uint8 \(2, 5\)"):
        cifar.read(tmp_path)
    (tmp_path / "data_batch_3").write_bytes(pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}, 2))
    with pytest.raises(ValueError, match="labels 0 to 9, got 10 to 10"):
        cifar.read(tmp_path)
    with pytest.raises(ValueError, match="must hold data_batch_1 or"):
        cifar.read(tmp_path / "nothing")
    binary = tmp_path / "binary"
    binary.mkdir()
    write_batches(binary, "binary")
    (binary / "data_batch_2.bin").write_bytes(b"short")
    with pytest.raises(ValueError, match="records of 3073 bytes, got 5 bytes"):
        cifar.read(binary)


def test_halved_images_are_means_of_four_pixels(tmp_path):
    write_batches(tmp_path, "binary")
    data = datasets.load(tmp_path)
    small = datasets.halved(data)
    x = data.train.take(np.arange(30)).astype(int)
    means = (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) // 4
    np.testing.assert_array_equal(small.train.take(np.arange(30)), means)
    assert (small.shift, small.train.shape) == (2, (3, 16, 16))


def test_resnet_18_has_the_papers_size():
    model = models.build("resnet18", (3, 32, 32), 10)
    assert sum(p.numel() for p in model.parameters()) == 11_173_962
    assert len(list(model.parameters())) == 62
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    narrow = models.build("resnet18-4", (3, 16, 16), 10, seed=1)
    again = models.build("resnet18-4", (3, 16, 16), 10, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(narrow.parameters(), again.parameters(), strict=True))
    with pytest.raises(ValueError, match="'resnet18-<width>', got 'resnet18-0'"):
        models.build("resnet18-0", (3, 16, 16), 10)


def test_gradients_and_tests_do_not_depend_on_what_a_process_saw_before(tmp_path):
    """Batch normalisation remembers batches, and replicas of a partition have different memories."""
    write_batches(tmp_path, "binary", 20)
    data = datasets.load(tmp_path)
    fresh, used = (models.build("resnet18-2", (3, 32, 32), 10, seed=5) for _ in range(2))
    for step in range(3):
        data.backward(used, np.arange(step, step + 8), 0, step, 1)
    for model in (fresh, used):
        data.backward(model, np.arange(30, 40), 0, 7, 2)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(fresh.parameters(), used.parameters(), strict=True))
    assert data.evaluate(fresh) == data.evaluate(used)
    for a, b in zip(batch_norms(fresh), batch_norms(used), strict=True):
        assert torch.equal(a.running_mean, b.running_mean)
        assert torch.equal(a.running_var, b.running_var)


def test_calibration_is_the_mean_over_batches(rng):
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3, momentum=None), torch.nn.Dropout(0.5))
    batches = [torch.from_numpy(rng.normal(size=(4, 3, 2, 2)).astype(np.float32)) for _ in range(3)]
    calibrate(model, batches)
    means = torch.stack([b.mean(dim=(0, 2, 3)) for b in batches]).mean(dim=0)
    torch.testing.assert_close(model[0].running_mean, means)
    assert not any(m.training for m in model.modules())


# ---- the runner's variants


def train(data, scheme="bernoulli-2", attack="reverse", **changes):
    settings = {"model": "mlp", "epochs": 1, "batch_size": 30, "lr": 0.01, "max_steps": 3, **changes}
    (one,) = contenders.build([scheme], 5, 1, attack)
    return runner.train(one, data, runner.Settings(**settings), InProcessTransport(5))


def test_phases_add_up():
    result = train(datasets.digits(), evaluations=2, max_steps=4)
    assert [point[:2] for point in result.history] == [(0, 0), (0.5, 2), (1, 4)]
    assert sum(result.phases[p] for p in ("gradient", "cast", "vote")) == pytest.approx(result.seconds)
    code = contenders.build(["bernoulli-2"], 5, 1, "reverse")[0].code
    assert result.gradients == 4 * int(code.allocation.any(axis=0).sum())  # once each, whatever the redundancy


def test_momentum_at_the_server():
    from electioncode.lab.training.server_momentum import ServerMomentum

    weights = [torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0])), torch.nn.Parameter(torch.ones(70))]
    twins = [torch.nn.Parameter(p.detach().clone()) for p in weights]
    election = ec.Election(ec.uncoded(3), InProcessTransport(3))
    optimizer = ServerMomentum(weights, 0.1, 0.9, 0.01, election=election)
    oracle = torch.optim.SGD(twins, lr=0.1, momentum=0.9, weight_decay=0.01)
    rng = np.random.default_rng(0)
    for _ in range(4):
        votes = [[torch.from_numpy(rng.normal(size=p.shape).astype(np.float32)) for p in weights] for _ in range(3)]
        for j in range(3):
            for p, g in zip(weights, votes[j], strict=True):
                p.grad = g
            optimizer.cast(j)
        optimizer.step()
        for i, p in enumerate(twins):
            p.grad = torch.sign(sum(torch.sign(votes[j][i]) for j in range(3)))
        oracle.step()
    for p, twin in zip(weights, twins, strict=True):
        torch.testing.assert_close(p.detach(), twin.detach())


# ---- schemes and colluders


def test_more_schemes():
    def code(name, n=15, b=3, **more):
        return contenders.build([name], n, b, "reverse", **more)[0].code

    assert code("deterministic-1", 5, 2) == ec.deterministic(5, 1)
    assert code("cyclic-3") == ec.cyclic(15, 3)
    assert ec.tolerance(code("planned")).num_byzantine >= 3
    assert code("bernoulli-2", seed=0, allow_empty=True) == ec.bernoulli(15, 2, seed=0, allow_empty=True)
    for name in ("bernoulli-2", "bernoulli-3"):
        other, planned = code(name), code(f"planned-{name}")
        assert Fraction(planned.max_load, planned.num_partitions) <= Fraction(other.max_load, other.num_partitions)
        b = planned.num_byzantine
        assert ec.tolerance(planned).num_byzantine == b
        if b < 3:
            with pytest.raises(ValueError):
                ec.plan(15, b + 1, max_load=Fraction(other.max_load, 15), time_limit=1)
    assert code("planned-bernoulli-3", 5, 1, seed=1).num_byzantine == 1  # whose busiest worker computes everything
    with pytest.raises(ValueError, match="scheme must be one of"):
        code("planned-nothing")


@pytest.mark.parametrize("policy", ["abstain", "one bit", "one bit, +1"])
@pytest.mark.parametrize("name", ["uncoded", "bernoulli-2", "deterministic"])
def test_colluders_turn_whatever_they_can(name, policy, rng):
    zero, tie = figures.POLICIES[policy]
    (scheme,) = contenders.build([name], 7, 2, "omniscient")
    d = 200
    x = rng.integers(-1, 2, (7, d)).astype(np.float32)
    election = scheme.election(InProcessTransport(7), seed=3, zero=zero, tie=tie)
    for j in election.partitions:
        election.cast(j, x[j])
    winner = election.resolve().unpack(np.int8)
    honest = ec.Election(scheme.code, InProcessTransport(7), tie, zero, seed=3)
    for j in honest.partitions:
        honest.cast(j, x[j])
    votes = {w: v.unpack(np.int8).astype(int) for w, v in honest.encoder.messages(d, 0).items()}
    cast = honest.encoder.votes(d)
    truth = ec.majority([cast[j] for j in honest.partitions], tie, seed=3).unpack(np.int8).astype(int)
    others = sum(v for w, v in votes.items() if w not in scheme.attackers)
    turned = np.sign(others - 2 * np.where(truth == 0, -1, truth))  # both vote against it
    kept = np.sign(sum(votes.values()))
    settled = (turned != 0) & (kept != 0) if tie == "random" else np.ones(d, dtype=bool)  # those ties are drawn
    if tie == "plus":
        turned, kept = (np.where(sums == 0, 1, sums) for sums in (turned, kept))
    expected = np.where(turned != truth, turned, kept)
    np.testing.assert_array_equal(winner[settled], expected[settled])
    wrong = winner != truth
    if name == "deterministic" and policy != "abstain":
        assert not wrong.any()
    else:
        assert wrong.any()


def test_colluders_do_the_same_on_a_device(place, rng):
    (one,) = contenders.build(["bernoulli-2"], 7, 2, "omniscient")
    x = rng.integers(-1, 2, (7, 200)).astype(np.float32)
    winners = []
    for cast in (lambda x: x, place.floats):
        election = one.election(InProcessTransport(7), seed=3, zero="abstain", tie="random")
        for j in election.partitions:
            election.cast(j, cast(x[j]))
        winners.append(election.resolve())
    assert winners[1].backend.name == "cuda"
    assert winners[1] == winners[0]


def test_colluders_need_one_process():
    class Elsewhere:
        num_workers, workers = 5, (0,)

    (scheme,) = contenders.build(["uncoded"], 5, 2, "omniscient")
    with pytest.raises(ValueError, match="needs all workers in one process"):
        scheme.election(Elsewhere(), seed=0)


# ---- what is made of the runs


def record(curve, seed, ends, **more):
    run = {
        "curve": curve, "seed": seed, "num_partitions": 5, "max_load": 2, "redundancy": 1.5, "seconds": 1.0,
        "device": "cpu", "threads": 1, "transport": "in-process", "processor_seconds": 0.5,
        "gradients": 50, "steps": 10, "bytes_per_step": 1_000_000,
        "phases": {"gradient": 8.0, "cast": 2.0, "vote": 4.0, "evaluation": 6.0},
        "history": [[epoch, 5 * epoch, 1.0, value] for epoch, value in enumerate(ends)],
    }  # fmt: skip
    return {**run, **more}


def test_summary():
    figure = figures.FIGURES["fig4a"]
    runs = [
        record("no-attack", 0, (0.1, 0.5, 0.9), max_load=1),
        record("uncoded", 0, (0.1, 0.4, 0.7), max_load=1),
        record("uncoded", 1, (0.1, 0.3, 0.5), max_load=1),
        record("deterministic", 0, (0.1, 0.6, 0.9), max_load=5),
        record("deterministic", 1, (0.1, 0.5, 0.7), max_load=5),
        record("bernoulli-2.5", 0, (0.1, 0.2, 0.59)),
    ]
    rows = {row.curve.name: row for row in summary.rows(figure, runs, bandwidth=1.0, target=None)}
    assert list(rows) == ["no-attack", "uncoded", "deterministic", "bernoulli-2.5"]
    assert rows["deterministic"].gain == pytest.approx(20)
    assert rows["deterministic"].below == pytest.approx(10)
    assert rows["uncoded"].gain is None
    # Half of the time was others': 5 s / 50 gradients, 2 s / 10 votes, 8 Mbit over 1 Gbit/s
    assert rows["deterministic"].step_seconds == pytest.approx(5 * 0.1 + 0.2 + 0.008)
    assert rows["no-attack"].step_seconds == pytest.approx(1 * 0.1 + 0.2 + 0.008)
    # until 0.6, where the uncoded curve ends: one seed after 1 epoch, the other after 2
    assert rows["deterministic"].reached == pytest.approx((1.5, 7.5 * 0.708, 0.5))
    np.testing.assert_allclose(rows["uncoded"].times, ([0, 1, 2], [0, 5 * 0.308, 10 * 0.308], [0.5, 0.5, 0.5]))
    assert rows["bernoulli-2.5"].reached is None
    assert rows["uncoded"].reached is None
    text = summary.table(figure, list(rows.values()), "test accuracy", 1.0, None, "in-process")
    line = next(line for line in text.splitlines() if line.startswith("deterministic"))
    assert line.split()[:9] == ["deterministic", "2", "1.5", "1", "80.00", "70.00", "90.00", "+20.00", "10.00"]
    assert "deterministic +20.0, bernoulli-2.5 -1.0" in summary.verdict(figure, list(rows.values()))[1]
    shares = summary.time_shares(runs)
    measured = [{**run, "transport": "mpi", "seconds": 30.0} for run in runs]
    rows = summary.rows(figure, measured, bandwidth=1.0, target=None)
    assert rows[2].step_seconds == pytest.approx(3.0)
    text = summary.table(figure, rows, "test accuracy", 1.0, None, "mpi")
    assert "modelled" not in text
    assert next(line for line in text.splitlines() if line.startswith("deterministic")).split()[-3:-1] == [
        "1.50",
        "1.00",
    ]
    assert "120 s, 3 s of them on a CPU: gradient 40 %, cast 10 %, vote 20 %" in shares
