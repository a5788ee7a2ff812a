"""Hand lists of torch tensors to the core: the two ends of an optimizer step, each one native call.

The core takes addresses, since NumPy views of many tensors cost more than the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from electioncode.core.backend import backend_of, numpy_backend
from electioncode.core.checks import FLOAT_NAMES, NAN, ZERO
from electioncode.core.words import words_for

# Words and mask to write or read, each tensor from a word boundary: as PackedSigns.arrays() gives them.
Planes = tuple[Any, Any]

_DTYPES = {torch.float16: 0, torch.bfloat16: 1, torch.float32: 2, torch.float64: 3}  # as the core numbers them


class RandomStream(NamedTuple):
    """Where random bits are drawn: seed, step and stream, from the word at which the tensors start."""

    seed: int
    step: int
    stream: int
    first_word: int


class MomentumRule(NamedTuple):
    """What the signs are taken of: v <- beta * v + weight * x, or x itself where there is no momentum v.

    Attributes:
        negate: without momentum, take the signs of -x.
        split: (beta, weight) of the stored momentum, where it differs from the sum whose signs are taken (Lion).
    """

    beta: float
    weight: float
    negate: bool = False
    split: tuple[float, float] | None = None


def local_shard(t: torch.Tensor) -> torch.Tensor:
    """Return this process's shard of a DTensor, waiting for pending communication; other tensors unchanged."""
    if type(t) is torch.Tensor or type(t) is torch.nn.Parameter:
        return t
    if hasattr(t, "to_local"):
        t = t.to_local()
    return t.wait() if hasattr(t, "wait") else t  # AsyncCollectiveTensor


def num_words(params: Sequence[torch.Tensor]) -> int:
    """Return the number of words in a vote on these parameters: each starts at a word boundary."""
    return sum([words_for(local_shard(p).numel()) for p in params])


def backend_of_all(params: Sequence[torch.Tensor], who: str) -> Any:
    """Return the backend of all tensors, which must be on one device."""
    if not params:
        return numpy_backend()
    devices = {p.device for p in params}
    if len(devices) > 1:
        raise ValueError(f"{who}: params must all be on one device, got {' and '.join(sorted(map(str, devices)))}")
    return backend_of(local_shard(params[0]), who, "params")


def pack_tensors(
    who: str,
    tensors: Sequence[torch.Tensor],
    momenta: Sequence[torch.Tensor] | None,
    rule: MomentumRule,
    planes: Planes,
    policies: tuple[str, str],
    stream: RandomStream,
    used: torch.Tensor | None = None,
) -> bool:
    """Pack the signs of dense tensors, or of their momenta, which take their step; return True if there was a NaN.

    Args:
        who: the function that errors name.
        policies: what zeros and NaNs vote.
        used: on a CUDA device, ``(tensors,)`` bool: a tensor that is not used votes nothing and keeps its momentum.
    """
    jobs = addresses([*tensors, *(momenta or ())], who)
    xs, vs = jobs[: len(tensors)], jobs[len(tensors) :] or [(0, 0, 0)] * len(tensors)
    if momenta is not None and any((a, d) != (b, e) for (a, _, d), (b, _, e) in zip(xs, vs, strict=True)):
        raise ValueError(f"{who}: momentum must have the dtype and shape of its parameter")
    return backend_of_all(tensors, who).core.pack_addresses(
        [(dtype, x, v, d) for (dtype, x, d), (_, v, _) in zip(xs, vs, strict=True)],
        rule.beta,
        rule.weight,
        rule.negate,
        *planes,
        ZERO.index(policies[0]),
        NAN.index(policies[1]),
        *stream,
        rule.split,
        *(() if used is None else (used,)),
    )


def update_tensors(who: str, params: Sequence[torch.Tensor], planes: Planes, lr: float, weight_decay: float) -> None:
    """Step dense tensors: p <- (1 - lr * weight_decay) * p, then p <- p - lr * sign."""
    core = backend_of_all(params, who).core
    core.update_addresses(addresses(params, who), *planes, 1 - lr * weight_decay, -lr)


def addresses(tensors: Sequence[torch.Tensor], who: str) -> list[tuple[int, int, int]]:
    """Return (dtype, address, elements) of each tensor, in memory order: channels-last and the like included.

    This runs on every step, so the checks are kept cheap. Raises ValueError where tensors are on several devices or not
    dense, and TypeError for other dtypes. The caller holds the tensors until the core is done with them.
    """
    found = []
    device = None
    for t in tensors:
        t = local_shard(t)
        if t.device != device:
            if device is not None:
                raise ValueError(f"{who}: params must all be on one device, got {device} and {t.device}")
            device = t.device
        if not t.is_contiguous():
            _check_dense(t, who)
        dtype = _DTYPES.get(t.dtype)
        if dtype is None:
            raise TypeError(f"{who}: x must have dtype {' or '.join(FLOAT_NAMES)}, got {t.dtype}")
        found.append((dtype, t.data_ptr(), t.numel()))
    return found


def _check_dense(t: torch.Tensor, who: str) -> None:
    """Check that the elements lie in memory without gaps, in whatever order."""
    expected = 1
    for stride, size in sorted((stride, size) for stride, size in zip(t.stride(), t.shape, strict=True) if size > 1):
        if stride != expected:
            raise ValueError(f"{who}: parameters must be dense, got strides {t.stride()} for shape {tuple(t.shape)}")
        expected *= size
