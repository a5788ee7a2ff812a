"""The paper's figures, run again.

`figures` says which curves they have, `scales` with which settings and data; `runs` runs them, `results` keeps what
came out, `summary` and `picture` show it beside the paper's claims. `plan_picture` draws what codes cost.

`runs` and `scales` need torch (the extra ``train``) and are imported by those who use them; nothing else here does.
"""

from __future__ import annotations

from electioncode.lab.figures import picture, plan_picture, results, summary
from electioncode.lab.figures.figures import FIGURES, POLICIES, Claim, Curve, Figure, find

__all__ = ["FIGURES", "POLICIES", "Claim", "Curve", "Figure", "find", "picture", "plan_picture", "results", "summary"]
