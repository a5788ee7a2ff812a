"""Training over real MPI processes: the same parameters as in one process, attacked or not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from launch import over_mpi, under_mpi

import electioncode as ec
from electioncode.lab.cli.main import main

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

NAMES = ("no-attack", "uncoded", "bernoulli-2", "deterministic", "repetition-no-attack", "repetition")


FIGURE = ["reproduce", "fig4a", "--scale=small", "--model=resnet18-2", "--train-samples=160", "--test-samples=30"]
FIGURE += ["--epochs=2", "--curve=uncoded", "--curve=bernoulli-2.5"]


def options(num_workers):
    schemes = [f"--scheme={name}" for name in NAMES]
    size = ["--byzantine=1", "--epochs=2", "--max-steps=3", "--batch-size=30", "--progress=none"]
    return [*schemes, f"--workers={num_workers}", *size]


def read(folder):
    return {entry["scheme"]: entry for entry in json.loads((folder / "summary.json").read_text())}


def alone(command, *where):
    """Run a command with all workers in this process."""
    before = torch.get_num_threads()
    assert main([*command, "--transport=in-process", *where]) == 0
    torch.set_num_threads(before)
    ec.set_num_threads(None)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (folder / f"{name}.bin").write_bytes(rng.integers(0, 10, (40, 3073), dtype=np.uint8).tobytes())
    return folder


@pytest.fixture(scope="module")
def over_mpich(tmp_path_factory, pictures):
    """Train by a server and five workers and draw a figure, in one job; the value is the folder of both."""
    out = tmp_path_factory.mktemp("mpich")
    train = ["train", *options(5), "--transport=mpi", "--topology=server", f"--out={out}", "--name=many"]
    figure = [*FIGURE, f"--data={pictures}", "--transport=mpi", f"--out={out}"]
    commands = (":".join(["command", *command]) for command in (train, figure))
    assert over_mpi("mpich", 6, "lab/commands", *commands) == 0
    return out


def test_a_server_and_workers_equal_training_in_one_process_and_repel_liars(over_mpich, tmp_path):
    same_in_one_process(over_mpich / "many", 5, receivers=1, out=tmp_path)


def test_workers_without_a_server_do_too(tmp_path):
    where = ["--transport=mpi", "--topology=allgather", f"--out={tmp_path}", "--name=many"]
    assert under_mpi("openmpi", 3, "-m", "electioncode", "train", *options(3), *where).status == 0
    same_in_one_process(tmp_path / "many", 3, receivers=2, out=tmp_path)


def same_in_one_process(many, num_workers, receivers, out):
    alone(["train", *options(num_workers)], f"--out={out}", "--name=one")
    summary, one = read(many), read(out / "one")
    assert tuple(summary) == NAMES
    sha = {name: entry["parameters_sha256"] for name, entry in summary.items()}
    assert sha == {name: entry["parameters_sha256"] for name, entry in one.items()}
    assert sha["deterministic"] == sha["no-attack"]
    assert sha["repetition"] == sha["repetition-no-attack"]
    assert sha["uncoded"] != sha["no-attack"]
    for name, entry in summary.items():
        assert entry["replicas_identical"] is True
        assert entry["test_accuracy"] == one[name]["test_accuracy"]
        one_frame = one[name]["bytes_sent_per_worker_per_step"]
        assert entry["bytes_sent_per_worker_per_step"] == receivers * one_frame


def test_a_wrong_number_of_processes_is_explained_once(tmp_path):
    wrong = ["--workers=5", "--byzantine=1", "--transport=mpi", f"--out={tmp_path}"]
    status, printed = under_mpi("mpich", 3, "-m", "electioncode", "train", *wrong)
    assert status != 0
    assert printed.count("5 workers and the server over MPI need 6 processes, got 3") == 1
    assert "mpiexec -n 6 " in printed
    assert "Traceback" not in printed
    assert not any(tmp_path.iterdir())


def test_a_figure_ends_with_the_same_parameters_over_mpi_and_in_one_process(over_mpich, pictures, tmp_path):
    alone([*FIGURE, f"--data={pictures}", "--jobs=1"], f"--out={tmp_path}")

    def runs(out):
        content = json.loads((out / "fig4a-small" / "results.json").read_text())
        return {run["curve"]: (run["parameters_sha256"], run["history"][-1][3]) for run in content["runs"]}

    assert runs(over_mpich) == runs(tmp_path)
    assert len(runs(tmp_path)) == 2
