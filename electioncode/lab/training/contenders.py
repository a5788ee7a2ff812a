"""The contenders of an experiment: one code and its attackers per row of the table."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from electioncode import attacks, codes
from electioncode.election import Election
from electioncode.lab.training.collusion import colluding_election
from electioncode.robustness import plan
from electioncode.transport import Transport

NAMES = ("no-attack", "uncoded", "bernoulli-2", "bernoulli-3", "deterministic", "repetition")
MORE = ("bernoulli-<redundancy>", "deterministic-<b>", "cyclic-<load>", "planned", "planned-<scheme>")
UNATTACKED = "-no-attack"  # <scheme>-no-attack: the same code, nobody lies
OMNISCIENT = "omniscient"  # the attack of colluders that see every message; in one process only
ATTACKS = (*attacks.NAMES, OMNISCIENT)


@dataclass(frozen=True)
class Contender:
    """One training run of the table: a scheme by name, and who attacks it.

    Attributes:
        name: as given on the command line.
        code: who computes what.
        attackers: the Byzantine workers, ascending; empty without an attack.
        attack: its name; None without one.
        reference: the scheme without attack whose ideal vote this code promises to reach bit for bit; None
            if it promises nothing against that many attackers.
    """

    name: str
    code: codes.AllocationCode
    attackers: tuple[int, ...]
    attack: str | None
    reference: str | None

    def byzantine(self, seed: int) -> dict[int, attacks.Attack]:
        """Return worker -> attack, as :class:`electioncode.Election` takes them."""
        if self.attack in (None, OMNISCIENT):
            return {}
        return {worker: attacks.by_name(self.attack, seed) for worker in self.attackers}

    def election(self, transport: Transport, *, seed: int, **policies: Any) -> Election:
        """Make the election, attackers included; ``policies`` are tie and zero."""
        if self.attack == OMNISCIENT:
            return colluding_election(self.code, transport, self.attackers, seed=seed, **policies)
        return Election(self.code, transport, seed=seed, byzantine=self.byzantine(seed), **policies)


def draw_attackers(num_workers: int, num_byzantine: int, seed: int) -> tuple[int, ...]:
    """Draw the Byzantine workers of a run: one random set per seed, as in the paper's experiments."""
    order = np.argsort(np.random.Philox(key=[seed, 2]).random_raw(num_workers), kind="stable")
    return tuple(sorted(int(i) for i in order[:num_byzantine]))


def repetition_partitions(num_workers: int, num_byzantine: int) -> int:
    """Return the largest odd k that divides n and leaves at least 2b + 1 replicas of each partition."""
    for k in range(num_workers, 0, -1):
        if k % 2 and num_workers % k == 0 and 2 * num_byzantine + 1 <= num_workers // k:
            return k
    raise ValueError(
        f"repetition: num_byzantine must be at most {(num_workers - 1) // 2} of {num_workers} workers, "
        f"got {num_byzantine}"
    )


def all_names(num_workers: int) -> tuple[str, ...]:
    """Return what "all" stands for: `NAMES`, without "deterministic" for an even number of workers."""
    return tuple(name for name in NAMES if name != "deterministic" or num_workers % 2)


def build(
    names: Sequence[str],
    num_workers: int,
    num_byzantine: int,
    attack: str,
    *,
    seed: int = 0,
    file: codes.AllocationCode | None = None,
    allow_empty: bool = False,
) -> list[Contender]:
    """Build the contenders called ``names``, in that order.

    Args:
        names: of `NAMES`; also "bernoulli-<E[r]>", "cyclic-<load>", "deterministic-<b>" for a b other than the number
            of attackers, "planned" for what `electioncode.plan` finds, "planned-<scheme>" for the planned code that
            tolerates most among those whose busiest worker computes no more than that scheme's, "code" for the code
            of ``file``, "<scheme>-no-attack", and "all" for `all_names` together with the references that they need.
        num_workers: n.
        num_byzantine: b. All attacked contenders have the same b attackers.
        attack: for :func:`electioncode.attacks.by_name`, or "omniscient" for colluders that know everything.
        seed: of the attackers and of the Bernoulli codes.
        file: the code called "code".
        allow_empty: Bernoulli codes may leave workers without partitions.

    Raises ValueError for an unknown name, and if a code does not exist for n and b.
    """
    if not 0 <= num_byzantine <= num_workers:
        raise ValueError(f"num_byzantine must be from 0 to {num_workers} workers, got {num_byzantine}")
    if attack != OMNISCIENT:
        attacks.by_name(attack, seed)  # raises if it is unknown
    attackers = draw_attackers(num_workers, num_byzantine, seed)
    wanted: list[str] = []
    for name in names:
        wanted += all_names(num_workers) if name == "all" else (name,)
    contenders: list[Contender] = []
    for name in dict.fromkeys(wanted):
        base = name.removesuffix(UNATTACKED)
        code = _code(base, num_workers, num_byzantine, seed, file, allow_empty)
        if base != name or name == "no-attack":
            contenders.append(Contender(name, code, (), None, None))
            continue
        reference = None
        if code.num_byzantine is not None and code.num_byzantine >= num_byzantine > 0:
            # With as many partitions as workers, the ideal vote is that of the plain run without attack.
            reference = "no-attack" if code.num_partitions == num_workers else base + UNATTACKED
        if "all" in names and reference not in (None, *wanted):
            contenders.append(Contender(base + UNATTACKED, code, (), None, None))
        contenders.append(Contender(name, code, attackers, attack, reference))
    return contenders


def _code(
    name: str, n: int, b: int, seed: int, file: codes.AllocationCode | None, allow_empty: bool
) -> codes.AllocationCode:
    kind, _, number = name.partition("-")
    if name in ("no-attack", "uncoded"):
        return codes.uncoded(n)
    if kind == "bernoulli" and re.fullmatch(r"\d+(\.\d+)?", number):
        return codes.bernoulli(n, redundancy=float(number), seed=seed, allow_empty=allow_empty)
    if name == "deterministic":
        return codes.deterministic(n, b)
    if kind == "deterministic" and number.isdecimal():
        return codes.deterministic(n, int(number))
    if kind == "cyclic" and number.isdecimal():
        return codes.cyclic(n, int(number))
    if name == "repetition":
        return codes.repetition(n, repetition_partitions(n, b))
    if name == "planned":
        return plan(n, b)
    if kind == "planned":
        other = _code(number, n, b, seed, file, allow_empty)
        return planned_within(n, b, Fraction(other.max_load, other.num_partitions))
    if name == "code" and file is not None:
        if file.num_workers != n:
            raise ValueError(f"the code must be for {n} workers, got one for {file.num_workers}: {file!r}")
        return file
    known = ", ".join(map(repr, (*NAMES, *MORE, f"<scheme>{UNATTACKED}")))
    raise ValueError(f"scheme must be one of {known}, 'code' (with a code from a file) or 'all', got {name!r}")


def planned_within(num_workers: int, num_byzantine: int, share: Fraction) -> codes.AllocationCode:
    """Plan the code that tolerates most, up to b, among those whose busiest worker computes at most this share."""
    for b in range(num_byzantine, -1, -1):
        with contextlib.suppress(ValueError):
            return plan(num_workers, b, max_load=share, time_limit=2.0)
    raise ValueError(f"planned_within: no code of {num_workers} workers has a largest load of at most {share}")
