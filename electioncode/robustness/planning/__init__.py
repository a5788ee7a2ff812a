"""Find codes: constructions, exact integer programs, set packings, and the table of the best ones found."""

from __future__ import annotations

from electioncode.robustness.planning.planner import OBJECTIVES, Candidate, candidates, mean_share, plan, share
from electioncode.robustness.planning.table import best_known
