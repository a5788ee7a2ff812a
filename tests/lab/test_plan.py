"""The command that plans a code."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from electioncode.codes import AllocationCode
from electioncode.lab.cli.main import main
from electioncode.robustness.planning import (
    share,
)


def test_command(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    out, picture = tmp_path / "code.json", tmp_path / "plan.png"
    arguments = ["plan", "--workers", "9", "--byzantine", "1", "--trials", "20000", "--time-limit", "2"]
    assert main([*arguments, "--out", str(out), "--plot", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert "certified b" in printed
    assert "* " in printed
    assert "bernoulli(9, E[r]=2, seed=0)" in printed
    code = AllocationCode.load(out)
    assert code.num_byzantine == 1
    assert share(code) == Fraction(1, 3)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_command_says_what_forbids_it(tmp_path, capsys):
    assert main(["plan", "--workers", "6", "--byzantine", "3", "--out", str(tmp_path / "x.json")]) == 2
    assert "no code of 6 workers tolerates 3" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


def test_command_reads_a_load_as_partitions_or_share(tmp_path):
    out = tmp_path / "code.json"
    arguments = ["plan", "--workers", "8", "--byzantine", "1", "--trials", "1000", "--plot", "", "--out", str(out)]
    assert main([*arguments, "--max-load", "0.75"]) == 0
    assert json.loads(out.read_text())["num_partitions"] == 4
    assert main([*arguments, "--partitions", "4", "--max-load", "3"]) == 0
