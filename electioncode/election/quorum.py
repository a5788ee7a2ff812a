"""Who took part in a vote: statistics, and the refusal that takes a result's place where too few did.

The refusal travels where the result would, so all who would have had the result raise the same error. It is whole
64-bit little-endian words::

    offset  0  magic     4 bytes  b"ELNQ"
            4  version   uint16   1
            6  reserved  uint16   0
            8  step      uint64
           16  quorum    uint32   least number of messages
           20  n         uint32   workers
           24  checksum  uint64   as in electioncode.frame, of the refusal with this field 0
           32  present   ceil(n / 64) uint64: bit i is 1 where worker i's message came and was whole
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from electioncode.core import checksum
from electioncode.votes import FrameError

if TYPE_CHECKING:
    from electioncode.codes import AllocationCode

MAGIC = b"ELNQ"
VERSION = 1
_HEADER = struct.Struct("<4sHHQII")
_CHECKSUM_WORD, _FIRST_WORD = 3, 4
_REMEMBERED = 1000  # steps


class QuorumError(RuntimeError):
    """Too few messages came for a vote to count.

    Attributes:
        step: of the election.
        quorum: the least number of messages.
        num_workers: of the election.
        missing: the workers whose messages were missing or malformed.
    """

    def __init__(self, step: int, quorum: int, num_workers: int, missing: Iterable[int]) -> None:
        self.step, self.quorum, self.num_workers = step, quorum, num_workers
        self.missing = tuple(missing)
        came = num_workers - len(self.missing)
        names = ", ".join(map(str, self.missing[:20])) + (", ..." if len(self.missing) > 20 else "")
        super().__init__(
            f"resolve: step {step} has no quorum: at least {quorum} of {num_workers} messages must come, "
            f"got {came}; missing or malformed: worker {names}"
        )

    def __reduce__(self) -> Any:
        return QuorumError, (self.step, self.quorum, self.num_workers, self.missing)


@dataclass
class ElectionStats:
    """What happened so far, as this process saw it.

    Attributes:
        steps: votes resolved.
        refused: votes that had no quorum.
        abstentions: worker -> messages that were missing or malformed. Counted where votes are counted, so
            empty at a worker of topology "server".
        reasons: worker -> why, the last time.
        missing: step -> the workers whose messages were missing or malformed in it: the last 1000 such steps. A
            worker of topology "server" hears of them where the vote had no quorum.
        bytes_sent, bytes_received: payload of this process; with all workers in one process, of all of them.
    """

    steps: int = 0
    refused: int = 0
    abstentions: dict[int, int] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    missing: dict[int, tuple[int, ...]] = field(default_factory=dict)
    bytes_sent: int = 0
    bytes_received: int = 0

    def note_missing(self, step: int, reasons: Mapping[int, str]) -> None:
        """Counts the abstentions of one step: worker -> why."""
        for worker in reasons:
            self.abstentions[worker] = self.abstentions.get(worker, 0) + 1
        self.reasons.update(reasons)
        self.note_step(step, reasons)

    def note_step(self, step: int, missing: Iterable[int]) -> None:
        """Remembers who was missing in one step."""
        self.missing[step] = tuple(sorted(missing))
        while len(self.missing) > _REMEMBERED:
            del self.missing[next(iter(self.missing))]


def least_messages(quorum: int | str | None, code: AllocationCode, tie: str) -> int | None:
    """The argument `quorum` of an Election as a number; None: any number will do."""
    n = code.num_workers
    if quorum is None:
        return None
    if quorum == "code":
        from electioncode.robustness import tolerance

        return n - max(0, tolerance(code, tie).num_byzantine)
    if isinstance(quorum, bool) or not isinstance(quorum, (int, np.integer)):
        raise TypeError(f"Election: quorum must be an integer, 'code' or None, got {quorum!r}")
    if not 1 <= quorum <= n:
        raise ValueError(f"Election: quorum must be from 1 to {n}, the number of workers, got {quorum}")
    return int(quorum)


def refusal_bytes(num_workers: int) -> int:
    """Size in bytes of a refusal."""
    return 8 * (_FIRST_WORD + (num_workers + 63) // 64)


def encode_refusal(error: QuorumError) -> np.ndarray:
    """The refusal that carries this error: a 1-D uint8 array."""
    out = np.zeros(refusal_bytes(error.num_workers), dtype=np.uint8)
    _HEADER.pack_into(out.data, 0, MAGIC, VERSION, 0, error.step, error.quorum, error.num_workers)
    present = np.ones(error.num_workers, dtype=bool)
    present[list(error.missing)] = False
    bits = np.packbits(present, bitorder="little")
    out[8 * _FIRST_WORD :][: bits.size] = bits
    words = out.view("<u8")
    words[_CHECKSUM_WORD] = checksum(words.astype(np.uint64))
    return out


def decode_refusal(result: Any, *, step: int, num_workers: int) -> QuorumError | None:
    """The error that a refusal carries, or None for anything else.

    Raises FrameError, a ValueError, for a refusal that is malformed or of another step or election.
    """
    raw = np.frombuffer(result, dtype=np.uint8) if len(result) else np.empty(0, dtype=np.uint8)
    if raw[:4].tobytes() != MAGIC:
        return None
    size = refusal_bytes(num_workers)
    if raw.size != size:
        raise FrameError(f"refusal: {size} bytes expected for {num_workers} workers, got {raw.size}")
    _, version, reserved, its_step, quorum, n = _HEADER.unpack_from(raw.data, 0)
    if (version, reserved, n) != (VERSION, 0, num_workers):
        expected = f"version {VERSION} of {num_workers} workers"
        raise FrameError(f"refusal: {expected} expected, got version {version} of {n}")
    if its_step != step:
        raise FrameError(f"refusal: step must be {step}, got {its_step}")
    words = np.frombuffer(raw.tobytes(), dtype="<u8").astype(np.uint64)
    stored, words[_CHECKSUM_WORD] = int(words[_CHECKSUM_WORD]), 0
    if checksum(words) != stored:
        raise FrameError("refusal: checksum does not match")
    present = np.unpackbits(raw[8 * _FIRST_WORD :], bitorder="little")[:num_workers]
    return QuorumError(step, quorum, num_workers, np.flatnonzero(present == 0).tolist())
