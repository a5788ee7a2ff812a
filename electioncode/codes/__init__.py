"""Say who computes what: allocation codes and the ways to construct them."""

from __future__ import annotations

from electioncode.codes.allocation import MAX_PARTITIONS, MAX_WORKERS, AllocationCode
from electioncode.codes.constructors import bernoulli, cyclic, deterministic, repetition, uncoded
