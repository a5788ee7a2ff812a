"""``electioncode train`` in one process: what it writes, and what it promises."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import electioncode as ec
from electioncode.lab.cli.main import main

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

ALL = [
    "no-attack",
    "uncoded",
    "bernoulli-2",
    "bernoulli-3",
    "deterministic",
    "repetition-no-attack",
    "repetition",
]
TINY = ["--workers", "5", "--byzantine", "2", "--epochs", "2", "--max-steps", "3", "--batch-size", "30"]


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    ec.set_num_threads(None)


def train(out, *arguments, name="run"):
    """Run the command and reads summary.json, by scheme."""
    where = ["--transport", "in-process", "--progress", "none", "--out", str(out), "--name", name]
    assert main(["train", *TINY, *arguments, *where]) == 0
    entries = json.loads((out / name / "summary.json").read_text())
    return {entry["scheme"]: entry for entry in entries}


def digests(summary):
    return {name: entry["parameters_sha256"] for name, entry in summary.items()}


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """Run all schemes once; the value is (folder, summary by scheme)."""
    out = tmp_path_factory.mktemp("runs")
    return out / "run", train(out)


def test_one_entry_a_scheme(everything):
    summary = everything[1]
    assert list(summary) == ALL
    for name, entry in summary.items():
        honest = name.endswith("no-attack")
        assert entry["num_workers"] == 5
        assert entry["num_byzantine"] == (0 if honest else 2)
        assert entry["attack"] == (None if honest else "reverse")
        assert entry["num_partitions"] == (1 if name.startswith("repetition") else 5)
        assert entry["steps"] == 6
        assert 0 <= entry["test_accuracy"] <= 1
        assert entry["seconds"] > 0
        assert entry["replicas_identical"] is True
        assert len(entry["parameters_sha256"]) == 64
    attackers = {tuple(entry["byzantine_workers"]) for entry in summary.values()}
    assert len(attackers - {()}) == 1  # every attacked scheme has the same ones
    for name, code in (
        ("uncoded", ec.uncoded(5)),
        ("bernoulli-2", ec.bernoulli(5, 2)),
        ("bernoulli-3", ec.bernoulli(5, 3)),
        ("deterministic", ec.deterministic(5, 2)),
        ("repetition", ec.repetition(5, 1)),
    ):
        assert summary[name]["redundancy"] == code.redundancy
        assert summary[name]["max_load"] == code.max_load
        assert summary[name]["batches_computed"] == code.redundancy * 5 / code.num_partitions


def test_a_worker_sends_one_frame_a_step(everything):
    from electioncode.lab.training import models
    from electioncode.votes.frame import frame_bytes

    model = models.build("cnn", (1, 8, 8), 10)
    words = sum(-(-p.numel() // 64) for p in model.parameters())
    for entry in everything[1].values():
        assert entry["bytes_sent_per_worker_per_step"] == frame_bytes(64 * words, 1)


def test_perfect_codes_end_where_the_run_without_attack_ends(everything):
    summary = everything[1]
    sha = digests(summary)
    assert sha["deterministic"] == sha["no-attack"]
    assert sha["repetition"] == sha["repetition-no-attack"]
    assert len({sha[name] for name in ALL}) == 5  # and nothing else coincides
    for name, entry in summary.items():
        reference = {"deterministic": "no-attack", "repetition": "repetition-no-attack"}.get(name)
        assert entry["reference"] == reference
        assert entry["identical_to_reference"] == (True if reference else None)


def test_history(everything):
    folder, summary = everything
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["scheme", "epoch", "step", "seconds", "test_accuracy"]
    for name in ALL:
        mine = [row for row in rows if row["scheme"] == name]
        assert [(row["epoch"], row["step"]) for row in mine] == [("0", "0"), ("1", "3"), ("2", "6")]
        seconds = [float(row["seconds"]) for row in mine]
        assert seconds == sorted(seconds)
        assert seconds[0] == 0.0
        assert float(mine[-1]["test_accuracy"]) == pytest.approx(summary[name]["test_accuracy"], abs=1e-6)
    assert len({row["test_accuracy"] for row in rows if row["epoch"] == "0"}) == 1  # one initialisation


def test_settings_and_picture(everything):
    from matplotlib import image

    folder, _ = everything
    record = json.loads((folder / "settings.json").read_text())
    assert record["data"] == "digits"
    assert (record["train_samples"], record["test_samples"]) == (1437, 360)
    assert (record["num_workers"], record["num_byzantine"], record["batch_size"]) == (5, 2, 30)
    assert record["build"]["version"] == ec.__version__
    picture = image.imread(folder / "accuracy.png")
    assert picture.shape[0] > 400
    assert picture.shape[1] > 800
    assert picture.std() > 0.01  # something is drawn
    assert {path.name for path in folder.iterdir()} == {
        "summary.json",
        "settings.json",
        "history.csv",
        "accuracy.png",
    }


def test_the_table_comes_last(tmp_path, capsys):
    summary = train(tmp_path, "--scheme", "no-attack", "--scheme", "deterministic")
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.startswith("deterministic"))
    assert "reverse by 2" in line
    assert f"{100 * summary['deterministic']['test_accuracy']:.1f} %" in line
    assert line.endswith("yes (no-attack)")
    assert str(tmp_path / "run") in printed.splitlines()[-1]


def test_runs_repeat_and_seeds_differ(tmp_path, everything):
    again = digests(train(tmp_path, "--scheme", "uncoded", name="again"))
    assert again["uncoded"] == everything[1]["uncoded"]["parameters_sha256"]
    other = digests(train(tmp_path, "--scheme", "uncoded", "--seed", "1", name="other"))
    assert other["uncoded"] != again["uncoded"]


@pytest.mark.parametrize("attack", ["directional-", "random"])
def test_every_attack_is_repelled_by_a_perfect_code_only(tmp_path, attack):
    schemes = [f"--scheme={name}" for name in ("no-attack", "uncoded", "deterministic")]
    sha = digests(train(tmp_path, "--attack", attack, *schemes))
    assert sha["deterministic"] == sha["no-attack"] != sha["uncoded"]


def test_a_code_from_a_file(tmp_path):
    code = ec.AllocationCode(np.ones((5, 5), dtype=np.uint8), name="all of it", num_byzantine=2)
    code.save(tmp_path / "code.json")
    summary = train(tmp_path, "--code", str(tmp_path / "code.json"))
    assert list(summary) == ["no-attack", "uncoded", "code"]
    assert summary["code"]["code"] == "all of it"
    assert summary["code"]["max_load"] == 5
    assert summary["code"]["identical_to_reference"] is True


def test_all_leaves_out_what_does_not_exist_for_even_numbers():
    from electioncode.lab.training import contenders

    names = [s.name for s in contenders.build(["all"], 6, 2, "reverse")]
    assert names == [name for name in ALL if name != "deterministic"]


@pytest.mark.parametrize(("n", "b", "k"), [(5, 2, 1), (9, 1, 3), (9, 3, 1), (15, 1, 5), (15, 2, 3), (10, 2, 1)])
def test_repetition_takes_the_most_partitions_that_tolerate_b(n, b, k):
    from electioncode.lab.training.contenders import repetition_partitions

    assert repetition_partitions(n, b) == k
    assert ec.repetition(n, k).num_byzantine >= b
    for more in range(k + 1, n + 1):
        claimed = ec.repetition(n, more).num_byzantine
        assert claimed is None or claimed < b


def test_an_image_folder(tmp_path):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 3)):
        for label, name in enumerate(("cat", "dog")):
            folder = tmp_path / "pets" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 100, (16, 16, 3), dtype=np.uint8) + np.uint8(120 * label)
                image.fromarray(pixels).save(folder / f"{i:04}.png")
    data = ["--data", str(tmp_path / "pets"), "--model", "resnet8", "--batch-size", "10", "--max-steps", "1"]
    summary = train(tmp_path, *data, "--scheme", "no-attack", "--scheme", "deterministic")
    sha = digests(summary)
    assert sha["deterministic"] == sha["no-attack"]
    record = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert (record["train_samples"], record["test_samples"], record["model"]) == (16, 6, "resnet8")

    (tmp_path / "pets" / "train" / "dog" / "0000.png").unlink()
    image.new("RGB", (8, 8)).save(tmp_path / "pets" / "train" / "dog" / "0000.png")
    from electioncode.lab.training.datasets import image_folder

    with pytest.raises(ValueError, match=r"shape \(3, 16, 16\) like the first, got \(3, 8, 8\)"):
        image_folder(tmp_path / "pets").train.take(np.arange(16))


def test_digits_are_those_of_scikit_learn():
    from electioncode.lab.training import datasets

    bunch = pytest.importorskip("sklearn.datasets").load_digits()
    images, labels = datasets.read_digits()
    np.testing.assert_array_equal(images, bunch.images)
    np.testing.assert_array_equal(labels, bunch.target)
    data = datasets.digits()
    assert (len(data.train), len(data.test)) == (1437, 360)
    both = np.concatenate([data.train.take(np.arange(1437)), data.test.take(np.arange(360))])
    assert sorted(map(bytes, both)) == sorted(map(bytes, images))  # every image once


def test_augmentation_moves_and_mirrors():
    from electioncode.lab.training.datasets import augment

    images = np.random.default_rng(0).integers(1, 256, (200, 2, 6, 5), dtype=np.uint8)
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)))
    moved = augment(images, 2, False, np.random.default_rng(1))
    seen = set()
    for i in range(200):
        places = [(r, c) for r in range(5) for c in range(5) if (padded[i, :, r : r + 6, c : c + 5] == moved[i]).all()]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 25  # every shift occurs
    mirrored = augment(images, 0, True, np.random.default_rng(1))
    flipped = (mirrored == images[..., ::-1]).all(axis=(1, 2, 3))
    assert ((mirrored == images).all(axis=(1, 2, 3)) ^ flipped).all()
    assert 60 < flipped.sum() < 140


def test_the_server_holds_no_data(monkeypatch):
    """A process without workers trains along without reading an image or computing a gradient."""
    from electioncode.lab.training import contenders, datasets, runner
    from electioncode.transport import InProcessTransport

    data = datasets.digits()
    settings = runner.Settings(model="mlp", epochs=1, batch_size=30, lr=0.01, max_steps=2)
    (scheme,) = contenders.build(["no-attack"], 5, 0, "reverse")

    results: list[bytes] = []

    class Recording(InProcessTransport):
        def exchange(self, messages, max_bytes, decode):
            result = super().exchange(messages, max_bytes, decode)
            results.append(bytes(result))
            return result

    class Server(InProcessTransport):
        def __init__(self, num_workers):
            super().__init__(num_workers)
            self.workers = ()

        def exchange(self, messages, max_bytes, decode):
            assert not messages
            return results.pop(0)

    worker = runner.train(scheme, data, settings, Recording(5))
    monkeypatch.setattr(datasets.Dataset, "backward", None)
    monkeypatch.setattr(data.train, "take", None)
    server = runner.train(scheme, data, settings, Server(5))
    assert server.parameters_sha256 == worker.parameters_sha256
    assert server.bytes_sent == 0
    assert server.history[-1][3] == worker.history[-1][3]


@pytest.mark.slow
def test_by_default_the_uncoded_vote_breaks_and_the_coded_ones_hold(tmp_path):
    where = ["--transport=in-process", "--progress=none", f"--out={tmp_path}", "--name=default"]
    assert main(["train", *where]) == 0
    entries = json.loads((tmp_path / "default" / "summary.json").read_text())
    accuracy = {entry["scheme"]: entry["test_accuracy"] for entry in entries}
    assert accuracy["no-attack"] > 0.85
    assert accuracy["uncoded"] < accuracy["no-attack"] - 0.2
    for name in ("bernoulli-2", "bernoulli-3", "deterministic", "repetition"):
        assert accuracy[name] > accuracy["no-attack"] - 0.12
    assert [entry["scheme"] for entry in entries if entry["identical_to_reference"]] == ["deterministic", "repetition"]


def test_progress_in_lines_is_short(tmp_path, capsys):
    where = ["--transport=in-process", "--progress=lines", f"--out={tmp_path}", "--name=lines"]
    small = ["--workers=3", "--byzantine=1", "--epochs=23", "--max-steps=1", "--batch-size=6"]
    assert main(["train", "--scheme=uncoded", *small, *where]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("uncoded")]
    assert 5 <= len(lines) <= 7
    assert "epoch   0/23" in lines[0]
    assert "epoch  23/23" in lines[-1]
