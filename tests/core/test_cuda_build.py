"""The module _cuda without a GPU: what it exports, how it refuses, and what ptxas reports on its kernels."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import electioncode as ec
from electioncode.core import backend, native

ROOT = Path(__file__).parents[2]
KERNELS = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
MOST_REGISTERS = 128
# 42 planes, for weights up to 2**40, are 84 registers.
EXCEPTIONS = {"MaskedVote<42": 224, "Coded<24": 160}


def modules():
    found = []
    for name in ("_cuda", "_cuda_emulated"):
        try:
            found.append(importlib.import_module(f"electioncode.core.{name}"))
        except ImportError:
            continue
    return found


needs_cuda = pytest.mark.skipif(native.cuda is None, reason="built without CUDA: nvcc was not found")
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")


def no_queue(device=0):
    """Return device, stream and scratch for a call that must be refused before any of them matters."""

    def scratch(nbytes):
        raise AssertionError("asked for memory")

    return device, 0, scratch


# Addresses are never followed: what is wrong is seen before.
A, ODD = 4096, 4097
ROWS = (A, 0, 3, 2, 2)


def packing(tensor, zero=0, nan=0, saw_nan=0, split=None):
    return [tensor], 0.9, 0.1, False, zero, nan, 0, 0, 0, saw_nan, split


REFUSED = [
    ("pack_tensors", packing((4, A, 0, 64, A, 0, 0, 0)), "dtype must be 0 .. 3"),
    ("pack_tensors", packing((2, 0, 0, 64, A, 0, 0, 0)), "x must be an address"),
    ("pack_tensors", packing((2, A + 2, 0, 64, A, 0, 0, 0)), "x must be aligned to 4"),
    ("pack_tensors", packing((3, A, A + 4, 64, A, 0, 0, 0)), "v must be aligned"),
    ("pack_tensors", packing((2, A, 0, 64, 0, 0, 0, 0)), "words must be an address"),
    ("pack_tensors", packing((2, A, 0, 64, A, 0, 0, 0), zero=3), "mask must be an address"),
    ("pack_tensors", packing((2, A, 0, 64, A, 0, 0, 0), zero=4), "zero must be 0 .. 3"),
    ("pack_tensors", packing((2, A, 0, 64, A, 0, 0, 0), nan=3), "nan must be 0 .. 2"),
    ("pack_tensors", packing((2, A, 0, 2**43 + 1, A, 0, 0, 0)), "d must be at most"),
    ("pack_tensors", packing((2, A, 0, 64, A, 0, 0, 0), saw_nan=ODD), "saw_nan must be aligned"),
    ("pack_tensors", packing((2, A, 0, 64, A, 0, 0, 0), split=(0.9, 0.1)), "v must be an address"),
    ("unpack_tensors", ([(5, A, 64, A, 0)],), "dtype must be 0 .. 4"),
    ("unpack_tensors", ([(2, 0, 64, A, 0)],), "out must be an address"),
    ("unpack_tensors", ([(2, A, 64, ODD, 0)],), "words must be aligned to 8 bytes"),
    ("update_tensors", ([(4, A, 64, A, 0)], 1.0, 0.1), "dtype must be 0 .. 3"),
    ("update_tensors", ([(2, A, 64, A, ODD)], 1.0, 0.1), "mask must be aligned to 8 bytes"),
    ("majority", ([(0, 0)], None, 64, 0, 0, 0, 0, A, 0), "words must be an address"),
    ("majority", ([(A, ODD)], None, 64, 0, 0, 0, 0, A, 0), "masks must be aligned"),
    ("majority", ([(A, 0)], [1, 2], 64, 0, 0, 0, 0, A, 0), "weights must be one per voter, got 2"),
    ("majority", ([(A, 0), (A, 0)], [2**40, -1], 64, 0, 0, 0, 0, A, 0), r"weights must be at most 2\*\*40 in sum"),
    ("majority", ([(A, 0)], [-(2**63)], 64, 0, 0, 0, 0, A, 0), r"weights must be at most 2\*\*40 in sum"),
    ("majority", ([(A, 0)], None, 64, 4, 0, 0, 0, A, 0), "tie must be 0 .. 3"),
    ("majority", ([(A, 0)], None, 64, 0, 0, 0, 0, 0, 0), "out must be an address"),
    ("majority", ([(A, 0)], None, 64, 3, 0, 0, 0, A, 0), "out_mask must be an address"),
    ("disagreement", ([(A, 0)], 0, 0, 64, A), "winner must be an address"),
    ("disagreement", ([(A, 0)], A, 0, 64, 0), "counts must be an address"),
    ("counters_majority", ([(A, 41)], 2**41, 64, 0, 0, 0, 0, A, 0), "planes must be 0 .. 40, got 41"),
    ("counters_majority", ([(A, 3)], 7, 64, 0, 0, 0, 0, A, 0), "maximum must be at least the counters' highest bit"),
    ("counters_majority", ([(A, 3)], 2**41 + 1, 64, 0, 0, 0, 0, A, 0), r"maximum must be at most 2\*\*41"),
    ("counters_margin", ([(A, 32)], 0, 64, A), "planes must be 0 .. 31, got 32"),
    ("counters_margin", ([(A, 3)], 0, 64, A + 2), "out must be aligned to 4 bytes"),
    ("accumulate", (A, 0, 4, [], [], A, 64), "kind must be 0 .. 3"),
    ("accumulate", (A, 0, 2, [], [], A, 64), "mask must be an address"),
    ("accumulate", (A, 0, 0, [A], [], A, 64), "pending must be as many as sums"),
    ("accumulate", (A, 0, 0, [A] * 43, [A] * 43, A, 64), "sums must be at most 42"),
    ("local_majorities", (ROWS, [0, 1], [3], 100, 0, 0, 0, (A, 0, 1, 2, 0)), "members must be partition indices"),
    ("local_majorities", (ROWS, [0, 2, 1], [0], 100, 0, 0, 0, (A, 0, 2, 2, 0)), "first must be"),
    ("local_majorities", (ROWS, [0, 1], [0, 1], 100, 0, 0, 0, (A, 0, 1, 2, 0)), "first must be offsets into members"),
    ("local_majorities", (ROWS, [0, 1], [0], 100, 0, 0, 0, (A, 0, 2, 2, 0)), "out must be one row per worker, got 2"),
    ("local_majorities", (ROWS, [0, 1, 1], [0], 100, 0, 0, 0, (A, 0, 2, 2, 0)), "out must be masked"),
    ("local_majorities", (ROWS, [0, 1, 2], [0, 1], 100, 0, 0, 0, (A, 0, 2, 1, 0)), "out must be rows that do not"),
    ("coded_majority", (ROWS, [], [], 100, 0, 0, 0, A, 0), "first must be offsets into members"),
    ("coded_majority", (ROWS, [0, 1], [0], 100, 3, 0, 0, A, 0), "out_mask must be an address"),
]  # fmt: skip


@pytest.mark.parametrize("module", modules(), ids=lambda m: m.__name__.rpartition(".")[2])
@pytest.mark.parametrize(("function", "arguments", "message"), REFUSED)
def test_arguments_are_checked_before_anything_is_queued(module, function, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(module, function)(*arguments, *no_queue())


@pytest.mark.parametrize("module", modules(), ids=lambda m: m.__name__.rpartition(".")[2])
def test_devices(module):
    with pytest.raises(ValueError, match="device must be at least 0, got -1"):
        module.unpack_tensors([], *no_queue(-1))
    count, why = module.device_count()
    assert (count == 0) == bool(why)
    with pytest.raises(RuntimeError, match="CUDA: "):  # there are not so many
        module.unpack_tensors([(2, A, 64, A, 0)], *no_queue(10_000))


def test_asking_for_a_gpu_where_there_is_none(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(backend, "_devices", {})
    if backend.cuda_unavailable():
        with pytest.raises(RuntimeError, match="pack: cuda:0 cannot be used: "):
            backend._cuda_backend(torch.device("cuda:0"), "pack")
    monkeypatch.setattr(native, "cuda", None)
    with pytest.raises(RuntimeError, match=r"no CUDA kernels .*ELECTIONCODE_CUDA=ON"):
        backend._cuda_backend(torch.device("cuda:0"), "pack")
    assert ec.build_config()["cuda"] is False
    ec.synchronize()  # no device was used: nothing to wait for


@pytest.mark.parametrize("device", ["cuda:63", "nonsense"])
def test_training_refuses_a_device_that_is_not_there(capsys, device):
    pytest.importorskip("torch")
    from electioncode.lab.cli.main import main

    assert main(["train", "--device", device, "--transport", "in-process"]) == 2
    assert f"--device {device} cannot be used: " in capsys.readouterr().err


def test_training_refuses_a_device_without_kernels(monkeypatch, capsys):
    pytest.importorskip("torch")
    from electioncode.lab.cli.main import main

    monkeypatch.setattr(native, "cuda", None)
    monkeypatch.setattr(native, "why_no_cuda", "not built")
    assert main(["train", "--device", "cuda", "--transport", "in-process"]) == 2
    assert "--device cuda cannot be used: this build of electioncode has no CUDA kernels (not built)" in (
        capsys.readouterr().err
    )
    assert main(["train", "--device", "meta", "--transport", "in-process"]) == 2
    assert "--device meta cannot be used: votes need cpu or cuda" in capsys.readouterr().err


@needs_cuda
def test_build_config():
    assert re.match(r"nvcc \d+\.\d+.*-real.*-virtual", ec.build_config()["cuda"])
    assert ec.build_config()["cuda_devices"] == native.cuda.device_count()[0]


@needs_cuda
def test_the_cuda_runtime_is_inside_and_hidden():
    """No libcudart is needed, and torch's own never meets ours."""
    library = native.cuda.__file__
    needed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    assert "libcudart" not in needed
    assert "libcuda.so" not in needed
    symbols = ["nm", "-D", "--defined-only", library]
    exported = subprocess.run(symbols, capture_output=True, text=True, check=True).stdout
    assert "PyInit__cuda" in exported
    assert not re.search(r" (cuda|cu|__cuda)[A-Z_]\w*$", exported, re.MULTILINE)


def report(source: Path) -> str:
    """Return ptxas' report on a file: the one kept by the build, or a new one."""
    folders = [ROOT / "csrc" / name for name in ("", "plan", "cuda")]
    sources = [path for folder in folders for kind in ("*.cu", "*.h") for path in folder.glob(kind)]
    newest = max(path.stat().st_mtime for path in sources)
    for kept in ROOT.glob(f"build/*/ptxas/{source.name}.o.txt"):
        if kept.stat().st_mtime >= newest:
            return kept.read_text()
    command = ["nvcc", "-std=c++17", "-O3", "-fmad=false", "-Xptxas=-v", "-Wno-deprecated-gpu-targets"]
    command += ['-DELECTIONCODE_CUDA_BUILD=""', "-gencode", "arch=compute_90,code=sm_90"]
    done = subprocess.run([*command, "-c", str(source), "-o", os.devnull], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def kernels(text: str) -> list[tuple[str, str, int, int, int]]:
    """Return (kernel, architecture, registers, stack bytes, spilled bytes) for each kernel in a report."""
    pattern = (
        r"Compiling entry function '(\S+)' for '(sm_\d+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads.*?Used (\d+) registers"
    )
    found = re.findall(pattern, text, re.DOTALL)
    return [(_readable(k), sm, int(regs), int(stack), int(out) + int(back)) for k, sm, stack, out, back, regs in found]


def _readable(symbol: str) -> str:
    done = subprocess.run(["c++filt", symbol], capture_output=True, text=True, check=False)
    return re.sub(r"\(anonymous namespace\)::|electioncode::cuda::", "", done.stdout.strip() or symbol)


@needs_nvcc
def test_registers_and_spills():
    """Every kernel keeps its counters in registers: no stack, no spills, and enough threads fit a multiprocessor."""
    with ThreadPoolExecutor(2) as pool:
        found = [row for text in pool.map(report, KERNELS) for row in kernels(text)]
    assert len({kernel for kernel, *_ in found}) >= 35
    assert "sm_90" in {sm for _, sm, *_ in found}
    for kernel, sm, registers, stack, spilled in found:
        most = next((limit for part, limit in EXCEPTIONS.items() if part in kernel), MOST_REGISTERS)
        assert (stack, spilled) == (0, 0), f"{kernel} on {sm}"
        assert registers <= most, f"{kernel} on {sm}: {registers} registers, at most {most} wanted"


@pytest.mark.parametrize(("choice", "works"), [("AUTO", True), ("OFF", True), ("ON", False)])
def test_a_broken_nvcc_breaks_no_build(tmp_path, choice, works):
    cmake = shutil.which("cmake", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if cmake is None:
        pytest.skip("cmake is not installed")
    broken = tmp_path / "nvcc"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    done = subprocess.run(
        [cmake, "-S", str(ROOT), "-B", str(tmp_path / "build"), "-DELECTIONCODE_PYTHON=OFF",
         f"-DELECTIONCODE_CUDA={choice}"],
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "CUDACXX": str(broken)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) == works, done.stdout + done.stderr
    if works:
        assert "CUDA: no" in done.stdout
    else:
        assert "nvcc is not found or does not work" in done.stderr
