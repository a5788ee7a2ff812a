"""Check for errors and emulate a device, in programs that run in several processes."""

from __future__ import annotations


def emulated() -> None:
    """Treat CPU tensors as those of a CUDA device from here on: see cuda_places.py."""
    from cuda_places import EmulatedDevice

    from electioncode.core import _cuda_emulated, arrays, backend

    backend._torch = arrays.CudaArrays(_cuda_emulated, EmulatedDevice())


def raised(call, kind, text) -> None:
    """Assert that the call raises an error of this kind with this text in it."""
    try:
        call()
    except kind as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"no {kind.__name__} with {text!r}")
