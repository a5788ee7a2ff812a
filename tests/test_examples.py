"""Every example, started as its first lines say (with fewer ranks and steps), prints what it promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from launch import script_over_gloo, under_mpi

pytest.importorskip("torch")
EXAMPLES = Path(__file__).parents[1] / "examples"


def test_ddp_with_a_checkpoint_on_the_way(tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    checkpoint = f"--checkpoint={folder}/rank"
    program = EXAMPLES / "ddp.py"
    first = script_over_gloo(2, program, "--epochs=1", checkpoint)
    second = script_over_gloo(2, program, "--epochs=2", checkpoint)
    nothing_left = script_over_gloo(1, program, "--epochs=2", checkpoint)
    assert "loss" not in nothing_left and nothing_left.count("the same model: True") == 1
    losses = [float(x) for x in re.findall(r"epoch \d: loss ([\d.]+)", first + second)]
    assert len(losses) == 2 and losses[1] < losses[0]
    assert first.count("all ranks hold the same model: True") == second.count("the same model: True") == 1
    assert 31 < float(re.search(r", ([\d.]+) x as many", first)[1]) < 32


def test_coded_ddp():
    output = script_over_gloo(3, EXAMPLES / "coded_ddp.py", "--epochs=1")
    honest, attacked, uncoded = re.findall(r"parameters (\w+)", output)
    assert honest == attacked != uncoded
    assert "the code tolerates 1 of 3 ranks" in output


def test_hsdp():
    output = script_over_gloo(3, EXAMPLES / "hsdp.py", "--steps=12")
    assert "the same to the last bit" in output
    losses = [float(x) for x in re.findall(r"loss ([\d.]+) where all", output)]
    assert losses[-1] < losses[0]


def test_gpt():
    output = script_over_gloo(2, EXAMPLES / "gpt.py", "--steps=30", "--width=64", "--context=32")
    bits = [float(x) for x in re.findall(r"([\d.]+) bits per character", output)]
    assert bits[0] > 7.5 and bits[-1] < 7


def test_mpi_loop():
    pytest.importorskip("mpi4py")
    status, output = under_mpi("mpich", 4, str(EXAMPLES / "mpi_loop.py"), "--steps=5")
    assert status == 0 and "bit-identical" in output
    assert len(set(re.findall(r"parameters (\w+)", output))) == 1


def test_examples_are_short():
    lengths = {path.name: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}
    assert len(lengths) == 5 and max(lengths.values()) < 80, lengths
