"""The protocol: cast, exchange, resolve."""

from __future__ import annotations

from electioncode.election.protocol import Election
from electioncode.election.quorum import ElectionStats, QuorumError
