"""Tensors of a model as the core takes them, and the two ends of a step on lists of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from electioncode import _backend
from electioncode._addresses import addresses, local
from electioncode.signs import words_for

# Words and mask to write or read, each tensor from a word boundary: as PackedSigns.arrays() gives them.
Votes = tuple[Any, Any]
Stream = tuple[int, int, int, int]  # of random bits: seed, step, stream, and the word where the tensors start


@dataclass(frozen=True)
class Rule:
    """What the signs are taken of: v <- beta * v + weight * x, or x itself where there is no momentum v.

    Attributes:
        negate: without momentum, the signs of -x.
        split: (beta, weight) of what v becomes in fact, the signs being of the other sum all the same.
    """

    beta: float
    weight: float
    negate: bool = False
    split: tuple[float, float] | None = None


def num_words(params: Sequence[torch.Tensor]) -> int:
    """Words of a vote on these parameters: each starts at a word boundary."""
    return sum([words_for(local(p).numel()) for p in params])


def runs(params: Sequence[torch.Tensor], longest: int | None = None) -> Iterator[list[torch.Tensor]]:
    """Neighbours that have a gradient, or have none: each run is one native call."""
    run: list[torch.Tensor] = []
    for p in params:
        if not p.requires_grad:
            continue
        if run and ((p.grad is None) != (run[0].grad is None) or len(run) == longest):
            yield run
            run = []
        run.append(p)
    if run:
        yield run


def gradient(p: torch.Tensor, who: str) -> torch.Tensor:
    """The gradient of a parameter, in its memory order and dtype."""
    grad = p.grad
    assert grad is not None
    if grad.is_sparse:
        raise ValueError(f"{who}: gradients must be dense, got a sparse one")
    p, grad = local(p), local(grad)
    alike = grad.is_contiguous() and p.is_contiguous()
    if not (alike or grad.stride() == p.stride()) or grad.dtype != p.dtype:
        grad = torch.empty_like(p, memory_format=torch.preserve_format).copy_(grad)
    return grad


def backend_of(params: Sequence[torch.Tensor], who: str) -> Any:
    """That of all tensors, which must be on one device."""
    if not params:
        return _backend.numpy_backend()
    devices = {p.device for p in params}
    if len(devices) > 1:
        raise ValueError(f"{who}: params must all be on one device, got {' and '.join(sorted(map(str, devices)))}")
    return _backend.backend_of(local(params[0]), who, "params")


def pack_tensors(
    who: str,
    tensors: Sequence[torch.Tensor],
    momenta: Sequence[torch.Tensor] | None,
    rule: Rule,
    votes: Votes,
    zero: str,
    nan: str,
    stream: Stream,
) -> bool:
    """Signs of dense tensors, or of their momenta, which take their step; True if there was a NaN."""
    jobs = addresses([*tensors, *(momenta or ())], who)
    xs, vs = jobs[: len(tensors)], jobs[len(tensors) :] or [(0, 0, 0)] * len(tensors)
    if momenta is not None and any((a, d) != (b, e) for (a, _, d), (b, _, e) in zip(xs, vs, strict=True)):
        raise ValueError(f"{who}: momentum must have the dtype and shape of its parameter")
    return backend_of(tensors, who).core.pack_addresses(
        [(dtype, x, v, d) for (dtype, x, d), (_, v, _) in zip(xs, vs, strict=True)],
        rule.beta,
        rule.weight,
        rule.negate,
        *votes,
        _backend.ZERO.index(zero),
        _backend.NAN.index(nan),
        *stream,
        rule.split,
    )


def update_tensors(
    who: str,
    params: Sequence[torch.Tensor],
    votes: Votes,
    lr: float,
    weight_decay: float,
) -> None:
    """p <- (1 - lr * weight_decay) * p, then p <- p - lr * sign, of dense tensors."""
    core = backend_of(params, who).core
    core.update_addresses(addresses(params, who), *votes, 1 - lr * weight_decay, -lr)
