"""Training over real MPI processes: the same parameters as in one process, attacked or not."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from launch import under_mpi

import electioncode as ec
from electioncode.lab.cli.main import main

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

NAMES = ("no-attack", "uncoded", "bernoulli-2", "deterministic", "repetition-no-attack", "repetition")


def options(num_workers):
    schemes = [f"--scheme={name}" for name in NAMES]
    size = ["--byzantine=1", "--epochs=2", "--max-steps=3", "--batch-size=30", "--progress=none"]
    return [*schemes, f"--workers={num_workers}", *size]


def read(folder):
    return {entry["scheme"]: entry for entry in json.loads((folder / "summary.json").read_text())}


@functools.cache
def in_process(num_workers):
    """The same schemes, all workers in this process."""
    before = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as out:
        where = ["--transport=in-process", f"--out={out}", "--name=one"]
        assert main(["train", *options(num_workers), *where]) == 0
        torch.set_num_threads(before)
        ec.set_num_threads(None)
        return read(Path(out) / "one")


@pytest.mark.parametrize(
    ("mpi", "topology", "workers"), [("mpich", "server", 5), ("mpich", "allgather", 3), ("openmpi", "server", 3)]
)
def test_equals_training_in_one_process_and_repels_liars(mpi, topology, workers, tmp_path):
    where = ["--transport=mpi", f"--topology={topology}", f"--out={tmp_path}", "--name=many"]
    size = workers + (topology == "server")
    assert under_mpi(mpi, size, "-m", "electioncode", "train", *options(workers), *where).status == 0
    summary, alone = read(tmp_path / "many"), in_process(workers)
    assert tuple(summary) == NAMES
    sha = {name: entry["parameters_sha256"] for name, entry in summary.items()}
    assert sha == {name: entry["parameters_sha256"] for name, entry in alone.items()}
    assert sha["deterministic"] == sha["no-attack"]
    assert sha["repetition"] == sha["repetition-no-attack"]
    assert sha["uncoded"] != sha["no-attack"]
    receivers = 1 if topology == "server" else workers - 1
    for name, entry in summary.items():
        assert entry["replicas_identical"] is True
        assert entry["test_accuracy"] == alone[name]["test_accuracy"]
        one_frame = alone[name]["bytes_sent_per_worker_per_step"]
        assert entry["bytes_sent_per_worker_per_step"] == receivers * one_frame


def test_a_wrong_number_of_processes_is_explained_once(tmp_path):
    wrong = ["--workers=5", "--byzantine=1", "--transport=mpi", f"--out={tmp_path}"]
    status, printed = under_mpi("mpich", 3, "-m", "electioncode", "train", *wrong)
    assert status != 0
    assert printed.count("5 workers and the server over MPI need 6 processes, got 3") == 1
    assert "mpiexec -n 6 " in printed
    assert "Traceback" not in printed
    assert not any(tmp_path.iterdir())


def test_a_figure_ends_with_the_same_parameters_over_mpi_and_in_one_process(tmp_path):
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (tmp_path / f"{name}.bin").write_bytes(rng.integers(0, 10, (40, 3073), dtype=np.uint8).tobytes())
    tiny = ["--scale=small", "--model=resnet18-2", "--train-samples=160", "--test-samples=30", "--epochs=2"]
    tiny += ["--curve=uncoded", "--curve=bernoulli-2.5"]
    command = ["reproduce", "fig4a", f"--data={tmp_path}", *tiny]
    over_mpi = ["--transport=mpi", f"--out={tmp_path}/many"]
    assert under_mpi("mpich", 6, "-m", "electioncode", *command, *over_mpi).status == 0
    before = torch.get_num_threads()
    assert main([*command, "--transport=in-process", "--jobs=1", f"--out={tmp_path}/one"]) == 0
    torch.set_num_threads(before)
    ec.set_num_threads(None)

    def runs(out):
        content = json.loads((tmp_path / out / "fig4a-small" / "results.json").read_text())
        return {run["curve"]: (run["parameters_sha256"], run["history"][-1][3]) for run in content["runs"]}

    assert runs("many") == runs("one")
    assert len(runs("one")) == 2
