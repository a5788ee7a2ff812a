"""Policies: what zeros, NaNs and ties vote, and the seed of random bits; checked once, compared once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from electioncode import core
from electioncode.votes.majority import majority
from electioncode.votes.packed import PackedSigns, pack


@dataclass(frozen=True)
class Policies:
    """How signs are taken and votes are decided.

    Attributes:
        tie: what a tie gives: "plus", "minus", "random" or "abstain".
        zero: what 0.0 votes: "plus", "minus", "random" or "abstain".
        nan: "raise", "minus" or "abstain".
        seed: of the random bits, 0 to 2**32 - 1; they also depend on the step, which counts modulo 2**32.
    """

    tie: str = "plus"
    zero: str = "plus"
    nan: str = "raise"
    seed: int = 0

    @staticmethod
    def checked(function: str, tie: str, zero: str, nan: str, seed: int) -> Policies:
        """Return the policies, or raise a ValueError that names the function and the argument."""
        core.choice(function, "tie", tie, core.TIE)
        core.choice(function, "zero", zero, core.ZERO)
        core.choice(function, "nan", nan, core.NAN)
        core.key(function, seed=seed)
        return Policies(tie, zero, nan, int(seed))

    @property
    def casts_abstain(self) -> bool:
        """Whether a coordinate of a cast may abstain, so that casts have masks."""
        return "abstain" in (self.zero, self.nan)

    def pack(self, x: Any, *, step: int, stream: int) -> PackedSigns:
        """Return the signs of floats, as :func:`electioncode.pack` takes them."""
        return pack(x, self.zero, self.nan, seed=self.seed, step=step % 2**32, stream=stream)

    def majority(self, votes: Any, *, step: int, stream: int = 0, out: PackedSigns | None = None) -> PackedSigns:
        """Return the majority of votes, as :func:`electioncode.majority` counts them."""
        return majority(votes, self.tie, seed=self.seed, step=step % 2**32, stream=stream, out=out)


def check_same(state: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """Raise a ValueError where a rule of a checkpoint differs from the one that holds here."""
    for name, value in mine.items():
        if state[name] != value:
            raise ValueError(f"load_state_dict: {name} must be {state[name]!r} as in the checkpoint, got {value!r}")
