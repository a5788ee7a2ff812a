"""Say what liars can do and what a code withstands: attacks, certificates, failure rates, bounds, and better codes."""

from __future__ import annotations

from electioncode.robustness import adversaries, attacks, bounds, enumeration, integer_program, simulation
from electioncode.robustness.adversaries import check_attackers, omniscient
from electioncode.robustness.failure import FailureRate, failure_rate
from electioncode.robustness.planning import plan
from electioncode.robustness.tolerance import TIES, Tolerance, tolerance
