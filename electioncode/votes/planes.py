"""The message between devices: a voter's words, then its mask where it has one, as bytes on a CUDA device.

It has no header: where tensors go from device to device, all processes take part in every exchange, and what comes has
a length that was announced. So a message of one plane or two is a vote whatever it holds, and any other is none. A
refusal (see :mod:`electioncode.quorum`) is told from both by one byte too many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from electioncode.core import words_for
from electioncode.votes.frame import FrameError
from electioncode.votes.packed import PackedSigns

if TYPE_CHECKING:
    import torch

    from electioncode.core import Backend


def planes_bytes(d: int) -> int:
    """Size in bytes of the longest message of d coordinates."""
    return 16 * words_for(d)


def encode(votes: PackedSigns, backend: Backend) -> torch.Tensor:
    """1-D uint8 on the backend's device, which shares memory with the votes where it can."""
    import torch

    votes = votes.like(backend)
    words = votes.words if votes.mask is None else torch.cat([votes.words, votes.mask])
    return words.contiguous().view(torch.uint8)


def decode(message: torch.Tensor, d: int) -> PackedSigns:
    """The votes of a message, which share its memory: bits that no vote has (padding, outside the mask) are cleared.

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
        return PackedSigns(planes[0], d)
    planes[0] &= planes[1]
    return PackedSigns(planes[0], d, planes[1])


def encode_refusal(refusal: np.ndarray) -> np.ndarray:
    """A refusal as it goes where a result of planes would."""
    return np.append(refusal, np.uint8(0))


def decode_refusal(result: Any) -> bytes | None:
    """The refusal in place of a result; None for votes."""
    if len(result) % 8 != 1:
        return None
    return np.asarray(result.cpu() if hasattr(result, "cpu") else result)[:-1].tobytes()
