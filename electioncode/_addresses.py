"""Where torch's tensors lie: a step on many tensors hands the core addresses, since NumPy views of them cost more."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from electioncode._torch_device import FLOAT_NAMES

DTYPES = {torch.float16: 0, torch.bfloat16: 1, torch.float32: 2, torch.float64: 3}  # as the core numbers them


def local(t: torch.Tensor) -> torch.Tensor:
    """The part of a sharded tensor (DTensor) that this process holds, come what is under way; another tensor itself."""
    if type(t) is torch.Tensor or type(t) is torch.nn.Parameter:
        return t
    if hasattr(t, "to_local"):
        t = t.to_local()
    return t.wait() if hasattr(t, "wait") else t  # AsyncCollectiveTensor


def addresses(tensors: Sequence[torch.Tensor], who: str) -> list[tuple[int, int, int]]:
    """(dtype, address, elements) of each tensor, in memory order: channels-last and the like included.

    Python's part of a step, so each check is the cheapest that there is. Raises ValueError where tensors are on several
    devices or not dense, and TypeError for other dtypes. The caller holds the tensors until the core is done with them.
    """
    found = []
    device = None
    for t in tensors:
        t = local(t)
        if t.device != device:
            if device is not None:
                raise ValueError(f"{who}: params must all be on one device, got {device} and {t.device}")
            device = t.device
        if not t.is_contiguous():
            _check_dense(t, who)
        dtype = DTYPES.get(t.dtype)
        if dtype is None:
            raise TypeError(f"{who}: x must have dtype {' or '.join(FLOAT_NAMES)}, got {t.dtype}")
        found.append((dtype, t.data_ptr(), t.numel()))
    return found


def _check_dense(t: torch.Tensor, who: str) -> None:
    """The elements lie in memory without gaps, in whatever order."""
    expected = 1
    for stride, size in sorted((stride, size) for stride, size in zip(t.stride(), t.shape, strict=True) if size > 1):
        if stride != expected:
            raise ValueError(f"{who}: parameters must be dense, got strides {t.stride()} for shape {tuple(t.shape)}")
        expected *= size
