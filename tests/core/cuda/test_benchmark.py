"""bench/gpu.py: its checks find what is wrong, and it measures nothing where there is no GPU."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import electioncode as ec
from electioncode import core

torch = pytest.importorskip("torch")


def test_the_benchmark(place, monkeypatch, rng):
    """bench/gpu.py: its checks find what is wrong, and every row that it would time runs."""
    spec = importlib.util.spec_from_file_location("gpu", Path(__file__).parents[3] / "bench" / "gpu.py")
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
    script = Path(__file__).parents[3] / "bench" / "gpu.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "measured nothing: " in done.stderr
    assert "Traceback" not in done.stderr
