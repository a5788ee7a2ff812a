"""The command line: what it says, and what it does not load."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import electioncode as ec
from electioncode.lab.cli.main import main

LAUNCHED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")


def python(*arguments: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )


def test_info_prints_the_build_configuration(capsys):
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    config = ec.build_config()
    for key in config:
        assert f"\n{key} " in "\n" + printed
    for value in (config["version"], config["compiler"], config["instruction_set"]):
        assert value in printed


def test_the_parser_loads_nothing_heavy():
    heavy = "torch mpi4py scipy matplotlib sklearn tqdm PIL"
    run = python(
        "-c",
        "import sys, electioncode.lab.cli as c\n"
        "try: c.main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "c.main(['info'])\n"
        f"print('loaded:', [m for m in '{heavy}'.split() if m in sys.modules])",
    )
    assert run.returncode == 0, run.stderr
    assert "loaded: []" in run.stdout
    assert "--byzantine" in run.stdout


def test_mpi_without_mpiexec_says_what_to_type():
    pytest.importorskip("torch")
    run = python("-m", "electioncode", "train", "--transport", "mpi", "--workers", "5", "--byzantine", "1")
    assert run.returncode == 2
    assert run.stdout == ""
    command = "train --transport mpi --workers 5 --byzantine 1"
    assert f"mpiexec -n 6 {sys.executable} -m electioncode {command}" in run.stderr
    assert "5 workers and the server over MPI need 6 processes, got 1" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("torch", "needs PyTorch: pip install 'electioncode[train]'"),
        ("sklearn", "needs scikit-learn: pip install 'electioncode[train]'"),
    ],
)
def test_a_missing_extra_is_named(monkeypatch, capsys, module, message):
    pytest.importorskip("torch")
    if module == "sklearn":
        import importlib.util

        find_spec = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *rest: None if name == module else find_spec(name, *rest),
        )
    else:
        monkeypatch.setitem(sys.modules, module, None)
    assert main(["train", "--transport", "in-process", "--progress", "none"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--byzantine", "10"], "--byzantine must be from 0 to 9, got 10"),
        (["--scheme", "coded"], "scheme must be one of 'no-attack', 'uncoded'"),
        (["--scheme", "bernoulli-10"], "redundancy must be in (0, 9], got 10.0"),
        (["--workers", "4", "--byzantine", "1", "--scheme", "deterministic"], "must be odd for Algorithm 1"),
        (["--workers", "4", "--byzantine", "2"], "num_byzantine must be at most 1 of 4 workers, got 2"),
        (["--batch-size", "5"], "num_partitions (at most batch_size) must be in 1..5, got 9"),
        (["--batch-size", "2000"], "batch_size (at most num_samples) must be in 1..1437, got 2000"),
        (["--model", "vgg"], "name must be 'mlp', 'cnn', 'resnet<6 m + 2>'"),
        (["--data", "no/such/folder"], "must hold train/<class>/*"),
        (["--code", "no-such.json"], "no-such.json"),
        (["--lr", "-1"], "lr must be at least 0, got -1.0"),
    ],
)
def test_mistakes_are_explained_before_anything_is_trained(capsys, tmp_path, arguments, message):
    pytest.importorskip("torch")
    out = ["--transport", "in-process", "--progress", "none", "--out", str(tmp_path)]
    assert main(["train", *arguments, *out]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("electioncode train: error: ")
    assert message in printed.err
    assert not any(tmp_path.iterdir())


def test_unknown_choices_are_listed(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--attack", "bribe"])
    assert "'reverse'" in capsys.readouterr().err
