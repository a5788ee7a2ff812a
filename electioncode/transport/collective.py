"""Move messages by collectives, for groups without point-to-point messages that can be late: NCCL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist


class Mail:
    """Rounds of which all ranks of the group are part at once. See `ranks.Mail`.

    Only all-to-all: what goes from one rank to another passes through no third, as it would in an all-gather or a
    broadcast, which may send it around a ring or down a tree. Two collectives per round: sizes, then bytes.
    """

    def __init__(self, group: dist.ProcessGroup, device: torch.device) -> None:
        self.bytes_sent = 0
        self.bytes_received = 0
        self.problems: dict[int, str] = {}
        self.device = device
        self._group = group
        self._rank, self._size = dist.get_rank(group), dist.get_world_size(group)

    def round(
        self, tag: int, outgoing: Mapping[int, Any], sources: Iterable[int], max_bytes: int, timeout: float | None
    ) -> dict[int, torch.Tensor | None]:
        """See `ranks.Mail.round`; messages may be tensors, and there is no timeout but the group's own."""
        self.problems = {}
        lengths = torch.full((self._size, 2), -1, dtype=torch.int64)
        lengths[:, 0] = tag
        for target, message in outgoing.items():
            if message is not None:
                lengths[target, 1] = len(message)
        theirs = self._exchange(lengths.flatten(), None, None).cpu().view(-1, 2)
        wrong = [r for r in range(self._size) if theirs[r, 0] != tag]
        if wrong:
            raise RuntimeError(f"exchange: ranks {wrong} are in another exchange than this one")
        sent = _bytes_that_go(lengths, max_bytes)
        received = _bytes_that_go(theirs, max_bytes)
        parts = [as_tensor(outgoing[r]) for r in range(self._size) if sent[r]]
        if any(part.device == self.device for part in parts):
            parts = [part.to(self.device) for part in parts]
        data = torch.cat(parts) if parts else torch.empty(0, dtype=torch.uint8)
        came = self._exchange(data, received, sent).split(received)
        result: dict[int, torch.Tensor | None] = {}
        for source in sources:
            length = int(theirs[source, 1])
            result[source] = came[source] if 0 <= length <= max_bytes else None
            if length < 0:
                self.problems[source] = "it sent no message"
            elif length > max_bytes:
                self.problems[source] = f"{max_bytes} bytes at most expected, got {length}"
        return result

    def _exchange(self, data: torch.Tensor, received: list[int] | None, sent: list[int] | None) -> torch.Tensor:
        data = data.to(self.device)
        out = torch.empty(data.numel() if received is None else sum(received), dtype=data.dtype, device=self.device)
        dist.all_to_all_single(out, data, received, sent, group=self._group)
        share = data.numel() // self._size if sent is None else sent[self._rank]  # stays here
        self.bytes_sent += (data.numel() - share) * data.element_size()
        self.bytes_received += (out.numel() - share) * data.element_size()
        return out

    def close(self, patience: float) -> None:
        """Do nothing: between rounds nothing is under way."""


def as_tensor(message: Any) -> torch.Tensor:
    """Return a message as a 1-D uint8 tensor, which shares its memory where that is writeable."""
    if isinstance(message, torch.Tensor):
        return message
    array = np.frombuffer(message, dtype=np.uint8) if len(message) else np.empty(0, dtype=np.uint8)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _bytes_that_go(lengths: torch.Tensor, max_bytes: int) -> list[int]:
    return [length if 0 <= length <= max_bytes else 0 for length in lengths[:, 1].tolist()]
