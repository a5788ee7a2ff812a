"""Share fixtures among all tests: every available instruction set in turn, and clean settings afterwards."""

from __future__ import annotations

import numpy as np
import pytest

import electioncode as ec
from electioncode import core


def pytest_report_header() -> str:
    return f"electioncode: {ec.build_config()}"


@pytest.fixture(params=ec.instruction_sets())
def isa(request):
    """Run the test once on every instruction set of this machine."""
    ec.set_instruction_set(request.param)
    yield request.param
    ec.set_instruction_set(None)


@pytest.fixture(params=[1, 3])
def threads(request):
    ec.set_num_threads(request.param)
    yield request.param
    ec.set_num_threads(None)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def cuda_places() -> list[str]:
    return ["emulated"] if core.cuda_unavailable() else ["emulated", "gpu"]


@pytest.fixture(params=cuda_places())
def place(request, monkeypatch):
    """Run a test of the CUDA operations on the CPU through emulated kernels, and on a GPU where there is one."""
    pytest.importorskip("torch")
    from cuda_places import places

    yield from places(request.param, monkeypatch)
