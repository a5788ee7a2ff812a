"""What every kernel is measured against: the cases of ``electioncode bench`` and of the suite in ``bench/``.

`floats`, `votes`, `coded` and `counting` define the cases, `naive` the ways without this package, `case` what
a case is, `pool` the memory, `measure` the timing, `report` and `plot` what comes out. Nothing here asserts a
time; every row asserts its result.
"""

from __future__ import annotations

from electioncode.lab.bench.case import Case, Row
from electioncode.lab.bench.coded import coded_cases
from electioncode.lab.bench.counting import counting_cases
from electioncode.lab.bench.floats import float_cases
from electioncode.lab.bench.pool import Pool, TooLarge
from electioncode.lab.bench.votes import vote_cases

RESNET18_COORDINATES = 11_173_962

__all__ = ["RESNET18_COORDINATES", "Case", "Pool", "Row", "TooLarge", "all_cases"]


def all_cases(d: int = RESNET18_COORDINATES, full: bool = False) -> list[Case]:
    """Every case at d coordinates; without `full`, those of the short run."""
    return [*float_cases(d), *vote_cases(d, full), *coded_cases(d, full), *counting_cases(d, full)]
