"""Tensors of a model as the core takes them, and the two ends of a step on lists of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from electioncode import _backend
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


def local(t: torch.Tensor) -> torch.Tensor:
    """The part of a sharded tensor (DTensor) that this process holds; any other tensor itself."""
    return t.to_local() if hasattr(t, "to_local") else t


def num_words(params: Sequence[torch.Tensor]) -> int:
    """Words of a vote on these parameters: each starts at a word boundary."""
    return sum(words_for(local(p).numel()) for p in params)


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


def flat(t: torch.Tensor, who: str) -> torch.Tensor:
    """The elements in the order in which they lie in memory (channels-last and the like included): a view."""
    t = local(t.detach())
    if t.is_contiguous():
        return t.view(-1)
    strides = sorted((stride, size) for stride, size in zip(t.stride(), t.shape, strict=True) if size > 1)
    expected = 1
    for stride, size in strides:
        if stride != expected:
            raise ValueError(f"{who}: parameters must be dense, got strides {t.stride()} for shape {tuple(t.shape)}")
        expected *= size
    return t.as_strided((t.numel(),), (1,))


def gradient(p: torch.Tensor, who: str) -> torch.Tensor:
    """The gradient of a parameter, in its memory order and dtype."""
    grad = p.grad
    assert grad is not None
    if grad.is_sparse:
        raise ValueError(f"{who}: gradients must be dense, got a sparse one")
    p, grad = local(p.detach()), local(grad)
    if grad.stride() != p.stride() or grad.dtype != p.dtype:
        grad = torch.empty_like(p, memory_format=torch.preserve_format).copy_(grad)
    return grad


def backend_of(tensors: Sequence[torch.Tensor], who: str) -> Any:
    """That of all the tensors, which must be on one device."""
    backends = {_backend.backend_of(local(t), who, "params") for t in tensors}
    if len(backends) > 1:
        raise ValueError(f"{who}: params must all be on one device")
    return backends.pop() if backends else _backend.numpy_backend()


def arrays(tensors: Sequence[torch.Tensor], who: str, backend: Any) -> list[Any]:
    """The elements of each tensor as the core takes them; they share its memory."""
    return [backend.floats(flat(t, who), who) for t in tensors]


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
    backend = backend_of([*tensors, *(momenta or ())], who)
    return backend.core.pack_tensors(
        arrays(tensors, who, backend),
        None if momenta is None else arrays(momenta, who, backend),
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
    backend = backend_of(params, who)
    backend.core.update_tensors(arrays(params, who, backend), *votes, 1 - lr * weight_decay, -lr)
