"""What the programs share."""

from __future__ import annotations


def raised(call, kind, text) -> None:
    """The call raises an error of this kind with this text in it."""
    try:
        call()
    except kind as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"no {kind.__name__} with {text!r}")
