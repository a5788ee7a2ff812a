"""The triple of every scheme: allocation, encoder, decoder."""

from __future__ import annotations

from electioncode.schemes.base import Decoder, Encoder, Format, Scheme
from electioncode.schemes.sign_vote import MajorityDecoder, sign_vote, sign_vote_by
