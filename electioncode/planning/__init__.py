"""Finding codes: constructions, exact integer programs, set packings, and the table of the best ones found."""

from __future__ import annotations

from electioncode.planning.planner import Candidate, candidates, plan
from electioncode.planning.table import best_known

__all__ = ["Candidate", "best_known", "candidates", "plan"]
