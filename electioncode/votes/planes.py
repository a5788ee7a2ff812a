"""The message between devices: a voter's words, then its mask where it has one, as bytes on a CUDA device.

It has no header: where tensors go from device to device, all processes take part in every exchange, and what comes has
a length that was announced. So a message of one plane or two is a vote whatever it holds, and any other is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from electioncode.core import FrameError, words_for
from electioncode.votes.packed import PackedSigns

if TYPE_CHECKING:
    import torch


class Planes:
    """The format of sign votes on a backend's device; `masked`: votes of no coordinates, in no plane, have a mask."""

    def __init__(self, backend: Any, masked: bool = False) -> None:
        self._backend, self._masked = backend, masked

    def max_bytes(self, d: int) -> int:
        """Return the size in bytes of the longest message of d coordinates."""
        return 16 * words_for(d)

    def encode(self, votes: PackedSigns, /, *, step: int, sender: int) -> torch.Tensor:
        """Return 1-D uint8 on the backend's device, which shares memory with the votes where it can."""
        import torch

        votes = votes.like(self._backend)
        words = votes.words if votes.mask is None else torch.cat([votes.words, votes.mask])
        return words.contiguous().view(torch.uint8)

    def decode(self, message: torch.Tensor, /, *, d: int, step: int, sender: int) -> PackedSigns:
        """Return the votes of a message, which share its memory: padding, and bits outside the mask, are cleared.

        Raises FrameError for another length.
        """
        import torch

        width = words_for(d)
        if message.numel() not in (8 * width, 16 * width):
            raise FrameError(f"planes: {8 * width} or {16 * width} bytes expected for d = {d}, got {message.numel()}")
        if message.storage_offset() % 8:  # behind a message of another length
            message = message.clone()
        planes = message.view(torch.int64).view(-1, width) if width else message.new_empty((1, 0), dtype=torch.int64)
        if d % 64:
            planes[:, -1] &= (1 << d % 64) - 1
        if len(planes) == 1:
            return PackedSigns(planes[0], d, planes[0] if self._masked and not d else None)
        planes[0] &= planes[1]
        return PackedSigns(planes[0], d, planes[1])
