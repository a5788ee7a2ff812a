"""The triple of every scheme: allocation, encoder, decoder."""

from __future__ import annotations

from electioncode.schemes.sign_vote import Stored, Tallied

__all__ = ["Stored", "Tallied"]
