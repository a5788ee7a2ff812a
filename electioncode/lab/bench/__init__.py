"""What every kernel is measured against: the cases of ``electioncode bench`` and of the suite in ``bench/``.

`floats`, `votes`, `coded` and `counting` define the cases, `naive` the ways without this package, `case` what a case
is, `pool` the memory, `timing` how rows are timed; `report` and `plot` show what came out. Nothing here asserts a time;
every row asserts its result.
"""

from __future__ import annotations

from electioncode.lab.bench import report
from electioncode.lab.bench.case import Bound, Case, Row, Way
from electioncode.lab.bench.coded import coded_cases
from electioncode.lab.bench.counting import counting_cases
from electioncode.lab.bench.floats import RESNET18_COORDINATES, RESNET18_SHAPES, float_cases
from electioncode.lab.bench.plot import roofline
from electioncode.lab.bench.pool import Pool, TooLarge
from electioncode.lab.bench.timing import FULL, SHORT, Effort, measure
from electioncode.lab.bench.votes import vote_cases

__all__ = [
    "FULL",
    "RESNET18_COORDINATES",
    "RESNET18_SHAPES",
    "SHORT",
    "Bound",
    "Case",
    "Effort",
    "Pool",
    "Row",
    "TooLarge",
    "Way",
    "all_cases",
    "measure",
    "report",
    "roofline",
]


def all_cases(d: int = RESNET18_COORDINATES, full: bool = False) -> list[Case]:
    """Return every case at d coordinates; without `full`, those of the short run."""
    return [*float_cases(d), *vote_cases(d, full), *coded_cases(d, full), *counting_cases(d, full)]
