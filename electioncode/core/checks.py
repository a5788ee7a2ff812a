"""Check arguments, with one wording of errors: function, argument, what was expected, what came."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

FLOAT_NAMES = ("float16", "bfloat16", "float32", "float64")
ZERO = ("plus", "minus", "random", "abstain")
NAN = ("raise", "minus", "abstain")
TIE = ("plus", "minus", "random", "abstain")

# What random bits are drawn for: the last word of Philox's counter, so that no two draws share bits.
PURPOSE_TIE: int = 0
PURPOSE_ZERO: int = 1
PURPOSE_ATTACK: int = 2
PURPOSE_SIMULATION: int = 3


def choice(function: str, argument: str, value: Any, choices: Sequence[str]) -> int:
    """Return the index of a value in its choices; raise a ValueError that lists them for any other."""
    try:
        return choices.index(value)
    except ValueError:
        expected = ", ".join(map(repr, choices))
        raise ValueError(f"{function}: {argument} must be one of {expected}, got {value!r}") from None


def integer(function: str, argument: str, value: Any, low: int, high: int | None = None) -> int:
    """Return an integer from low to high (None: no limit) as an int; raise TypeError or ValueError for another."""
    limits = f"at least {low}" if high is None else f"in {low}..{high}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        kind = type(value).__name__
        raise TypeError(f"{function}: {argument} must be an integer {limits}, got {kind} {value!r}")
    if value < low or (high is not None and value > high):
        raise ValueError(f"{function}: {argument} must be {limits}, got {value}")
    return int(value)


def number(function: str, argument: str, value: Any, low: Any, high: Any = math.inf, ends: str = "()") -> float:
    """Return a number between two limits as a float; raise TypeError or ValueError for another.

    Args:
        function, argument, value: as for `integer`. A bool is not a number.
        low, high: the limits, as the error prints them.
        ends: "()", "[)", "(]" or "[]": a square bracket admits the limit on its side.
    """
    interval = f"in {ends[0]}{low}, {high}{ends[1]}"
    if isinstance(value, bool) or not isinstance(value, Real):
        kind = type(value).__name__
        raise TypeError(f"{function}: {argument} must be a number {interval}, got {kind} {value!r}")
    x = float(value)
    if not (low < x < high or (ends[0] == "[" and x == low) or (ends[1] == "]" and x == high)):
        raise ValueError(f"{function}: {argument} must be {interval}, got {value}")
    return x


def key(function: str, **words: int) -> tuple[int, ...]:
    """Return the 32-bit words of a random stream, checked."""
    for name, value in words.items():
        if not 0 <= value < 2**32:
            raise ValueError(f"{function}: {name} must be from 0 to 2**32 - 1, got {value}")
    return tuple(words.values())
