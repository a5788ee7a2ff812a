"""``electioncode reproduce`` on tiny data of the same form as the real."""

from __future__ import annotations

import json
import lzma

import numpy as np
import pytest

import electioncode as ec
from electioncode.lab.cli.main import main

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

HEADER = (
    "ACTION,RESOURCE,MGR_ID,ROLE_ROLLUP_1,ROLE_ROLLUP_2,ROLE_DEPTNAME,ROLE_TITLE,ROLE_FAMILY_DESC,ROLE_FAMILY,ROLE_CODE"
)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    ec.set_num_threads(None)


@pytest.fixture(scope="module")
def access(tmp_path_factory):
    """Write 300 rows in the form of Amazon's file, packed: the label depends on the first two columns."""
    rng = np.random.default_rng(0)
    values = rng.integers(1, 6, (300, 9))
    labels = (values[:, 0] + values[:, 1] + rng.integers(0, 3, 300) > 6).astype(int)
    file = tmp_path_factory.mktemp("amazon") / "train.csv.xz"
    lines = [HEADER, *(",".join(map(str, row)) for row in np.column_stack([labels, values]))]
    file.write_bytes(lzma.compress("\n".join(lines).encode()))
    return file


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Write CIFAR-10's binary batches, of 20 images each: a class is a colour."""
    folder = tmp_path_factory.mktemp("cifar-10-batches-bin")
    rng = np.random.default_rng(1)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        labels = np.arange(20) % 10
        pixels = rng.integers(0, 30, (20, 3, 1024)) + 20 * labels[:, None, None] * np.array([1, 0, 1])[None, :, None]
        records = np.column_stack([labels, pixels.reshape(20, -1)]).astype(np.uint8)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder


def reproduce(figure, data, out, *arguments):
    """Run the command and return its runs by curve and seed."""
    assert main(["reproduce", figure, "--data", str(data), "--out", str(out), "--jobs", "1", *arguments]) == 0
    content = json.loads(next(out.glob(f"{figure}-*/results.json")).read_text())
    return {(run["curve"], run["seed"]): run for run in content["runs"]}


TINY_ACCESS = ("--train-samples=240", "--epochs=2")
TINY_PICTURES = ("--scale=small", "--model=resnet18-2", "--train-samples=100", "--test-samples=20", "--epochs=1")


@pytest.fixture(scope="module")
def figure6(access, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    runs = reproduce("fig6a", access, out, *TINY_ACCESS, "--seeds=2")
    return out, runs


def test_every_curve_with_every_seed(figure6):
    from electioncode.lab.figures.figures import FIGURES

    runs = figure6[1]
    expected = {(c.name, s) for c in FIGURES["fig6a"].curves for s in (0, 1) if c.varies or s == 0}
    assert set(runs) == expected
    for (_, seed), run in runs.items():
        assert run["steps"] == 2
        assert [point[1] for point in run["history"]] == [0, 1, 2]
        assert all(0 <= point[3] <= 1 for point in run["history"])
        assert len(run["byzantine_workers"]) == (5 if run["attack"] else 0)
        assert run["attack"] in (None, "directional")
        if run["attack"]:
            assert run["byzantine_workers"] == runs["uncoded", seed]["byzantine_workers"]
    assert runs["bernoulli-2", 0]["zero"] == runs["bernoulli-2", 0]["tie"] == "abstain"
    assert runs["bernoulli-2 (+1)", 0]["tie"] == "plus"


def test_with_one_bit_a_perfect_code_ends_where_the_run_without_attack_ends(figure6):
    runs = figure6[1]
    honest = runs["no-attack (+1)", 0]["parameters_sha256"]
    for seed in (0, 1):
        assert runs["deterministic (+1)", seed]["parameters_sha256"] == honest
        assert runs["uncoded (+1)", seed]["parameters_sha256"] != honest


def test_what_is_left_behind(figure6):
    from matplotlib import image

    folder = figure6[0] / "fig6a-full"
    assert {path.name for path in folder.iterdir()} == {"results.json", "fig6a.png", "table.txt"}
    picture = image.imread(folder / "fig6a.png")
    assert picture.shape[0] > 500
    assert picture.std() > 0.01
    content = json.loads((folder / "results.json").read_text())
    assert content["figure"] == "fig6a"
    assert content["settings"]["train_samples"] == 240
    assert content["settings"]["metric"] == "AUC"
    assert "train.csv.xz" in content["command"]
    assert "/" not in content["command"]
    table = (folder / "table.txt").read_text()
    assert "authors' log, uncoded ends at 0.6543; here uncoded at 0." in table
    assert "paper: Bernoulli codes" in table


def test_kept_runs_are_shown_again(figure6, tmp_path, capsys):
    out, _ = figure6
    table = (out / "fig6a-full" / "table.txt").read_text()
    (out / "fig6a-full" / "fig6a.png").unlink()
    assert main(["reproduce", "fig6a", "--show", "--out", str(out)]) == 0
    assert (out / "fig6a-full" / "table.txt").read_text() == table
    assert (out / "fig6a-full" / "fig6a.png").exists()
    capsys.readouterr()
    assert main(["reproduce", "fig6a", "--show", "--out", str(tmp_path)]) == 2
    assert "No such file" in capsys.readouterr().err


def test_an_interrupted_figure_goes_on(figure6, access, capsys):
    out, runs = figure6
    file = out / "fig6a-full" / "results.json"
    content = json.loads(file.read_text())
    content["runs"] = [run for run in content["runs"] if run["curve"] != "uncoded"]
    file.write_text(json.dumps(content))
    again = reproduce("fig6a", access, out, *TINY_ACCESS, "--seeds=2")
    assert "2 runs," in capsys.readouterr().err
    shas = {key: run["parameters_sha256"] for key, run in again.items()}
    assert shas == {key: run["parameters_sha256"] for key, run in runs.items()}

    assert main(["reproduce", "fig6a", "--data", str(access), "--out", str(out), "--train-samples=240"]) == 2
    assert "other settings (epochs)" in capsys.readouterr().err
    fresh = reproduce(
        "fig6a", access, out, "--train-samples=240", "--epochs=1", "--fresh", "--curve=uncoded", "--seeds=1"
    )
    assert set(fresh) == {("uncoded", 0)}


def test_processes_at_once_give_the_same_runs(access, tmp_path):
    names = ("--curve=uncoded", "--curve=repetition", "--seeds=1", *TINY_ACCESS)
    one = reproduce("fig6a", access, tmp_path / "one", *names)
    assert main(["reproduce", "fig6a", "--data", str(access), "--out", str(tmp_path), "--jobs=2", *names]) == 0
    content = json.loads((tmp_path / "fig6a-full" / "results.json").read_text())
    assert {run["curve"]: run["parameters_sha256"] for run in content["runs"]} == {
        curve: run["parameters_sha256"] for (curve, _), run in one.items()
    }


def test_colluders_who_know_everything_are_worse_and_a_certified_code_stands_them(pictures, tmp_path):
    from electioncode.lab.figures.figures import FIGURES

    names = [
        f"--curve={c.name}" for c in FIGURES["fig5a-beyond"].curves if c.scheme in ("no-attack", "uncoded", "planned")
    ]
    runs = reproduce("fig5a-beyond", pictures, tmp_path, *TINY_PICTURES, *names)
    sha = {curve: run["parameters_sha256"] for (curve, _), run in runs.items()}
    assert sha["planned"] == sha["planned (omniscient)"]  # neither attack changes one bit
    assert sha["no-attack"] == sha["no-attack (omniscient)"]
    assert len(set(sha.values())) == 4
    assert runs["planned", 0]["certified_byzantine"] == 2


def test_cifar_10(pictures, tmp_path):
    runs = reproduce("fig4a", pictures, tmp_path, *TINY_PICTURES)
    sha = {curve: run["parameters_sha256"] for (curve, _), run in runs.items()}
    assert list(runs) == [(c, 0) for c in sorted(("no-attack", "uncoded", "deterministic", "bernoulli-2.5"))]
    assert sha["deterministic"] == sha["no-attack"]
    assert sha["uncoded"] != sha["no-attack"]
    content = json.loads((tmp_path / "fig4a-small" / "results.json").read_text())
    assert content["settings"]["batch_size"] == 80
    server = reproduce("fig4a", pictures, tmp_path / "server", *TINY_PICTURES, "--momentum-at=server")
    assert server["no-attack", 0]["parameters_sha256"] != sha["no-attack"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fig9"], "figure must be one of fig4a, "),
        (["fig4a"], "fig4a: needs CIFAR-10: --data"),
        (["fig4a", "--data", "{tmp}"], "must hold train/<class>"),
        (["fig6a", "--data", "{tmp}/none.csv"], "is not a file; download train.csv"),
        (["fig6a", "--data", "{access}"], "train_rows must be from 1 to 299"),
        (["fig6a", "--data", "{access}", "--train-samples=240", "--curve=x"], "curve must be one of 'no-attack', "),
        (["fig6a", "--data", "{access}", "--train-samples=100"], "batch_size (at most num_samples) must be in 1..100"),
        (["fig6a", "--seeds=0"], "--seeds must be from 1"),
        (["fig6a", "--data", "{access}", "--device=nowhere"], "--device nowhere cannot be used"),
    ],
)
def test_mistakes_are_explained(arguments, message, access, tmp_path, capsys):
    given = [word.format(tmp=tmp_path, access=access) for word in arguments]
    assert main(["reproduce", *given, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_list_has_all_figures(capsys):
    from electioncode.lab.figures.figures import FIGURES

    assert main(["reproduce", "--list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in FIGURES)


def test_figures_are_the_papers():
    from electioncode.lab.figures import figures

    expected = {
        "fig4a": (5, 1, 120), "fig4b": (9, 2, 576), "fig4c": (15, 3, 240),
        "fig5a": (5, 2, 240), "fig5b": (9, 3, 126), "fig5c": (15, 6, 240),
        "fig6a": (15, 5, 225), "fig6b": (49, 5, 245),
    }  # fmt: skip
    for name, numbers in expected.items():
        figure = figures.FIGURES[name]
        assert (figure.num_workers, figure.num_byzantine, figure.batch_size) == numbers
        assert figure.attack == ("directional" if name.startswith("fig6") else "reverse")
        for one in (figure, figures.FIGURES[f"{name}-beyond"]):
            names = [curve.name for curve in one.curves]
            assert len(set(names)) == len(names)
            panels = [curve.panel for curve in one.curves]
            assert sorted(panels, key=panels.index) == panels  # curves of one panel are adjacent
    assert [f.name for f in figures.find(["fig6", "fig4a"])] == ["fig6a", "fig6b", "fig4a"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda(pictures, tmp_path):
    runs = reproduce("fig4a", pictures, tmp_path, *TINY_PICTURES, "--device=cuda")
    sha = {curve: run["parameters_sha256"] for (curve, _), run in runs.items()}
    assert sha["deterministic"] == sha["no-attack"]
