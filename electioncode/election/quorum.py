"""Note who took part in a vote, and refuse the vote where too few did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from electioncode.codes import AllocationCode
from electioncode.core import FrameError
from electioncode.votes import frame, pack

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
        """Count the abstentions of one step: worker -> why."""
        for worker in reasons:
            self.abstentions[worker] = self.abstentions.get(worker, 0) + 1
        self.reasons.update(reasons)
        self.note_step(step, reasons)

    def note_step(self, step: int, missing: Iterable[int]) -> None:
        """Remember who was missing in one step."""
        self.missing[step] = tuple(sorted(missing))
        while len(self.missing) > _REMEMBERED:
            del self.missing[next(iter(self.missing))]


def least_messages(quorum: int | str | None, code: AllocationCode, tie: str) -> int | None:
    """Return the argument `quorum` of an Election as a number; None: any number will do."""
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


class Refusals:
    """The message that there is no quorum: a frame from REFUSED of one vote per worker, +1 where its message came.

    It travels where the result would, so all who would have had the result raise the same error.
    """

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers
        self.num_bytes = frame.frame_bytes(num_workers)

    def encode(self, missing: Iterable[int], *, step: int, on_device: bool) -> np.ndarray:
        """Return the refusal; where results have no header, one byte longer than a multiple of 8, as no vote is."""
        came = np.ones(self.num_workers, dtype=np.float32)
        came[list(missing)] = -1
        refusal = frame.encode(pack(came), step=step, sender=frame.REFUSED)
        return np.append(refusal, np.uint8(0)) if on_device else refusal

    def decode(self, result: Any, *, step: int, on_device: bool) -> tuple[int, ...] | None:
        """Return the workers that a refusal of this step calls missing, or None for anything else."""
        if len(result) != self.num_bytes + on_device:
            return None
        host = result.cpu().numpy() if hasattr(result, "cpu") else result
        try:
            came = frame.decode(memoryview(host)[: self.num_bytes], d=self.num_workers, step=step, sender=frame.REFUSED)
        except FrameError:
            return None
        return tuple(np.flatnonzero(came.unpack(np.int8) < 0).tolist())
