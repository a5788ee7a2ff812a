"""The native module itself: bounds, dispatch, threads, fork, symbols, Philox's published vectors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from guard import guarded

import electioncode as ec
from electioncode import core, reference
from electioncode.core import cpu
from electioncode.votes import random_signs


@pytest.mark.parametrize("at_end", [True, False])
def test_nothing_is_read_or_written_past_a_buffer(isa, rng, at_end):
    """Every kernel with every buffer next to a guard page: one byte too far is a segmentation fault."""
    for d in (1, 63, 64, 65, 500, 512, 513, 577, 1100):
        w = (d + 63) // 64

        def words(values=None, w=w):
            a = guarded(8 * w, at_end).view(np.uint64)
            a[:] = rng.integers(0, 2**64, w, dtype=np.uint64) if values is None else values
            return a

        for number, dtype in ((0, np.float16), (2, np.float32), (3, np.float64)):
            x = guarded(d * np.dtype(dtype).itemsize, at_end).view(dtype)
            x[:] = rng.standard_normal(d)
            momentum = guarded(x.nbytes, at_end).view(dtype)
            momentum[:] = 0
            for zero in ("plus", "abstain"):
                out = ec.PackedSigns(words(), d, words() if zero == "abstain" else None)
                ec.pack(x, zero, out=out)
                out.unpack(out=momentum)
            step = [(number, x.ctypes.data, momentum.ctypes.data, d)]
            cpu.pack_addresses(step, 0.9, 0.1, False, out.words, out.mask, 0, 0, 0, 0, 0, 0, None)
            cpu.update_addresses([(number, x.ctypes.data, d)], out.words, out.mask, 0.9, 0.1)
        for n in (1, 2, 5, 16, 17, 40):
            packed = ec.pack(rng.standard_normal((n, d)))
            rows = [ec.PackedSigns(words(row), d) for row in packed.words]
            masked = [ec.PackedSigns(r.words, d, words(reference.to_words(np.ones(d, dtype=bool)))) for r in rows]
            for tie in ("plus", "random", "abstain"):
                out = ec.PackedSigns(words(), d, words() if tie == "abstain" else None)
                assert ec.majority(rows, tie, out=out) == ec.majority(packed, tie)
                assert ec.majority(masked, tie, out=out) == ec.majority(packed, tie)
            ec.disagreement(rows, rows[0])
        source, sums, pending, rest = (words() for _ in range(4))
        for kind in range(4):
            cpu.accumulate(source, words(), kind, [sums], [pending], rest, d)
        margin = guarded(4 * d, at_end).view(np.int32)
        cpu.counters_margin([sums, pending], [0, 1], 0, d, margin)
        cpu.random_words(words(), 0, 0, 0, 0)
        cpu.checksum(words())


def test_the_guard_page_works():
    """The test above can fail: reading one byte past the buffer ends a process with SIGSEGV."""
    code = (
        "import numpy as np, ctypes, sys; sys.path.insert(0, sys.argv[1]); from guard import guarded;"
        "a = guarded(8, True); ctypes.string_at(a.ctypes.data, 9)"
    )
    helpers = os.path.join(os.path.dirname(__file__), "..", "helpers")
    done = subprocess.run([sys.executable, "-c", code, helpers], check=False, capture_output=True)
    assert done.returncode < 0


def test_philox_published_vectors(isa):
    """Random123's known-answer tests of philox4x32-10, as far as a counter of this package can express them."""
    out = np.zeros(1, dtype=np.uint64)
    cpu.random_words(out, 0, 0, 0, 0)
    assert out[0] == 0x6627E8D5 | 0xE169C58D << 32
    assert reference.random_words(1, 0, 0, 0, 0)[0] == out[0]


def test_philox_equals_reference(isa, threads):
    for key in ((1, 2, 3, 4), (2**32 - 1, 2**32 - 1, 2**32 - 1, 2**32 - 1)):
        for n in (0, 1, 7, 64, 1000):
            out = np.zeros(n, dtype=np.uint64)
            cpu.random_words(out, *key)
            np.testing.assert_array_equal(out, reference.random_words(n, *key))


def test_random_bits_are_balanced_and_independent():
    """Half ones; streams, steps, seeds and purposes do not repeat each other. 5 standard deviations."""
    d = 1_000_000
    keys = [dict(seed=1), dict(seed=2), dict(step=1), dict(stream=1), dict(purpose=1)]
    votes = [random_signs(d, **k) for k in keys]
    for v in votes:
        assert abs(int(v.unpack(np.int8).sum(dtype=np.int64))) < 5 * d**0.5
    for i in range(len(votes)):
        for j in range(i):
            assert abs(int(ec.disagreement([votes[i]], votes[j])[0]) - d / 2) < 5 * d**0.5 / 2


def test_checksum_equals_reference(threads, rng):
    for n in (0, 1, 2, 63, 1000, 200_000):
        words = rng.integers(0, 2**64, n, dtype=np.uint64)
        assert core.checksum(words) == reference.checksum(words)


def test_instruction_sets():
    names = ec.instruction_sets()
    assert names[-1] == "scalar"
    assert ec.instruction_set() == names[0]
    for name in names:
        ec.set_instruction_set(name)
        assert ec.instruction_set() == name
    ec.set_instruction_set()
    assert ec.instruction_set() == names[0]
    with pytest.raises(ValueError, match=r"expected one of .*'scalar'.*, got 'mmx'"):
        ec.set_instruction_set("mmx")


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_environment_chooses_instruction_set_and_threads():
    show = "import electioncode as ec; print(ec.instruction_set(), ec.num_threads())"
    assert run_python(show, ELECTIONCODE_ISA="scalar", ELECTIONCODE_NUM_THREADS="3").stdout.split() == [
        "scalar",
        "3",
    ]
    environment = {"OMP_NUM_THREADS": "2", "ELECTIONCODE_NUM_THREADS": ""}
    assert run_python(show, **environment).stdout.split()[1] == "2"
    wrong = run_python(show, ELECTIONCODE_ISA="mmx")
    assert wrong.returncode != 0
    assert "got 'mmx'" in wrong.stderr


def test_import_loads_no_heavy_module():
    heavy = ("torch", "mpi4py", "scipy", "sklearn", "matplotlib")
    code = f"import electioncode, sys; print([m for m in {heavy} if m in sys.modules])"
    assert run_python(code).stdout.strip() == "[]"


def test_threads_setting():
    for n in (1, 5):
        ec.set_num_threads(n)
        assert ec.num_threads() == n
    ec.set_num_threads()
    for bad in (0, -1, 1025):
        with pytest.raises(ValueError, match="from 1 to 1024"):
            ec.set_num_threads(bad)


def test_votes_from_many_python_threads_at_once(rng):
    """The GIL is released and the pool has one user at a time: everybody gets the right result."""
    ec.set_num_threads(2)
    votes = ec.pack(rng.standard_normal((5, 1_000_000)).astype(np.float32))
    rows = [votes[i : i + 3] for i in range(3)]
    expected = [ec.majority(r) for r in rows]
    wrong = []

    def vote(i: int) -> None:
        for _ in range(20):
            if ec.majority(rows[i % 3]) != expected[i % 3]:
                wrong.append(i)

    workers = [threading.Thread(target=vote, args=(i,)) for i in range(8)]
    for t in workers:
        t.start()
    for t in workers:
        t.join()
    ec.set_num_threads()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_after_threads():
    """A forked child has no pool threads of its parent's and must not wait for them."""
    code = """
import os, numpy as np, electioncode as ec
ec.set_num_threads(4)
x = np.random.default_rng(0).standard_normal(4_000_000)
expected = ec.pack(x)
pid = os.fork()
if pid == 0:
    os._exit(0 if ec.pack(x) == expected and ec.num_threads() == 4 else 1)
assert os.waitpid(pid, 0)[1] == 0
assert ec.pack(x) == expected
print("ok")
"""
    done = run_python(code)
    assert done.stdout.strip() == "ok", done.stderr


def test_core_refuses_what_does_not_fit(rng):
    """The native layer checks for itself: shapes, dtypes, overlap, indices; no call of Python's can break a bound.

    (What lies at an address is the caller's word: see `test_tensors_that_an_optimizer_refuses`.)
    """
    w = np.zeros(2, dtype=np.uint64)
    x = np.zeros(128, dtype=np.float32)
    calls = [
        lambda: cpu.pack(x, w[:1], None, 0, 0, 0, 0, 0),
        lambda: cpu.pack(x, w.view(np.int64), None, 0, 0, 0, 0, 0),
        lambda: cpu.pack(x[::2], w[:1], None, 0, 0, 0, 0, 0),
        lambda: cpu.pack(x, w, None, 4, 0, 0, 0, 0),
        lambda: cpu.pack(x, w, None, 0, -1, 0, 0, 0),
        lambda: cpu.pack(np.zeros((2, 128), np.float32), np.broadcast_to(w, (2, 2)), None, 0, 0, 0, 0, 0),
        lambda: cpu.unpack(w, w[:1], x),
        lambda: cpu.update_addresses([(2, x.ctypes.data, 128)], w[:1], None, 1.0, 0.1),
        lambda: cpu.update_addresses([(2, x.ctypes.data, 128)], w, w[:1], 1.0, 0.1),
        *[
            lambda tensor=tensor, words=words, split=split: cpu.pack_addresses(
                [tensor], 0.9, 0.1, False, words, None, 0, 0, 0, 0, 0, 0, split
            )
            for tensor, words, split in [
                ((4, x.ctypes.data, 0, 128), w, None),
                ((2, 0, 0, 128), w, None),
                ((2, x.ctypes.data + 2, 0, 64), w[:1], None),
                ((2, x.ctypes.data, x.ctypes.data + 1, 64), w[:1], None),
                ((2, x.ctypes.data, 0, 129), w, None),
                ((2, x.ctypes.data, 0, 2**64 - 1), w[:0], None),
                ((2, x.ctypes.data, 0, 128), w, (0.9, 0.1)),
            ]
        ],
        lambda: cpu.update_addresses([(4, x.ctypes.data, 128)], w, None, 1.0, 0.1),
        lambda: cpu.update_addresses([(2, 0, 128)], w, None, 1.0, 0.1),
        lambda: cpu.update_addresses([(2, x.ctypes.data + 1, 64)], w[:1], None, 1.0, 0.1),
        lambda: cpu.update_addresses([(2, x.ctypes.data, 129)], w, None, 1.0, 0.1),
        lambda: cpu.update_addresses([(2, x.ctypes.data, 2**64 - 1)], w[:0], None, 1.0, 0.1),
        lambda: cpu.majority([w, w[:1]], None, None, 128, 0, 0, 0, 0, w.copy(), None, False),
        lambda: cpu.majority([w], None, None, 129, 0, 0, 0, 0, w.copy(), None, False),
        lambda: cpu.majority([w], None, [1, 2], 128, 0, 0, 0, 0, w.copy(), None, False),
        lambda: cpu.majority([w], None, [2**62], 128, 0, 0, 0, 0, w.copy(), None, False),
        lambda: cpu.majority([w], None, None, 128, 3, 0, 0, 0, w.copy(), None, False),
        lambda: cpu.majority([w], None, None, 128, 9, 0, 0, 0, w.copy(), None, False),
        lambda: cpu.local_majorities(w[None], None, [0, 1], [1], 128, 0, 0, 0, w[None].copy(), None),
        lambda: cpu.local_majorities(w[None], None, [0, 2], [0], 128, 0, 0, 0, w[None].copy(), None),
        lambda: cpu.local_majorities(
            w[None], None, [0, 1, 0, 1], [0], 128, 0, 0, 0, np.zeros((3, 2), np.uint64), None
        ),
        lambda: cpu.accumulate(w, None, 2, [], [], w.copy(), 128),
        lambda: cpu.accumulate(w, None, 0, [w.copy()], [], w.copy(), 128),
        lambda: cpu.counters_majority([w], [41], 2, 128, 0, 0, 0, 0, w.copy(), None),
        lambda: cpu.counters_majority([w], [5], 2, 128, 0, 0, 0, 0, w.copy(), None),
        lambda: cpu.counters_margin([w], [0], 0, 128, np.zeros(127, dtype=np.int32)),
    ]
    for i, call in enumerate(calls):
        with pytest.raises(ValueError, match="_core: "):
            call()
            pytest.fail(f"call {i} was taken")
    read_only = np.frombuffer(bytes(16), dtype=np.uint64)
    with pytest.raises(ValueError, match="writeable"):
        cpu.pack(x, read_only, None, 0, 0, 0, 0, 0)


def test_versions_agree():
    config = ec.build_config()
    assert config["version"] == ec.__version__
    assert config["assertions"] is False
    assert set(config["instruction_sets"]) >= set(ec.instruction_sets())


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm (binutils)")
def test_instruction_set_code_does_not_leak(tmp_path):
    """Objects built with wide-register flags export their table and nothing weak: see csrc/README.md."""
    source = os.path.join(os.path.dirname(__file__), "..", "..", "csrc", "cpu", "simd")
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    wide = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mf16c"]
    flags = {"scalar": [], "avx2": ["-mavx2", "-mf16c"], "avx512": wide}
    if "x86" not in os.uname().machine:
        flags = {"scalar": [], "neon": []}

    def build(name: str) -> str:
        target, options = f"{tmp_path}/{name}.o", ["-std=c++20", "-O1", "-ffp-contract=off", *flags[name]]
        command = [compiler, *options, "-c", f"{source}/{name}.cpp", "-o", target]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        return subprocess.run(["nm", "-C", target], check=True, capture_output=True, text=True).stdout

    with ThreadPoolExecutor(2) as pool:
        for name, symbols in zip(flags, pool.map(build, flags), strict=True):
            exported = [line for line in symbols.splitlines() if line[17:18] in "WVuTDBRC" and line[17:18].strip()]
            assert [line.split()[-1] for line in exported] == [f"electioncode::k{name.capitalize()}Kernels"], exported
