"""Hold sign votes in packed words, count them, and put them into messages."""

from __future__ import annotations

from electioncode.votes import frame, reference
from electioncode.votes.frame import FrameError
from electioncode.votes.majority import MAX_TOTAL_WEIGHT, coded_majority, disagreement, local_majorities, majority
from electioncode.votes.packed import PackedSigns, new_votes, outputs, pack, random_signs
from electioncode.votes.planes import Planes
from electioncode.votes.policies import Policies, check_same
from electioncode.votes.tally import Tally
