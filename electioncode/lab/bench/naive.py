"""What a user would otherwise run: the same results without this package, written as one would write them.

They take and return NumPy or torch arrays. Each is the fastest short form of its kind that we know.
"""

from __future__ import annotations

from typing import Any

import numpy as np

MOMENTUM, LR, WEIGHT_DECAY = 0.9, 1e-3, 1e-4


def sign_sum_sign(gradients: Any) -> Any:
    """Vote on torch ``(n, d)`` gradients, in one line."""
    import torch

    return torch.sign(gradients).sum(0).sign()


def sum_sign(signs: Any) -> Any:
    """Vote on torch ``(n, d)`` signs that are floats already."""
    return signs.sum(0).sign()


def weighted_sum_sign(signs: Any, weights: Any) -> Any:
    """Vote on torch ``(n, d)`` signs with ``(n,)`` weights."""
    return (weights @ signs).sign()


def random_tie_sum_sign(signs: Any) -> Any:
    """Vote on torch ``(n, d)`` signs; draw ties at random."""
    import torch

    score = signs.sum(0)
    return torch.where(score == 0, torch.randint_like(score, 2) * 2 - 1, score.sign())


def int8_sum(signs: np.ndarray) -> np.ndarray:
    """Vote on int8 ``(n, d)`` signs, n below 128, summed in int8, which is not NumPy's default."""
    return np.sign(signs.sum(0, dtype=np.int8))


def mode(bits: Any) -> Any:
    """Vote on torch ``(n, d)`` booleans, as distributed-lion does."""
    import torch

    return torch.mode(bits, dim=0).values


def float64_sum(messages: list[np.ndarray]) -> np.ndarray:
    """Vote on n arrays of float64 signs, as the code published with Election Coding does."""
    total = np.zeros_like(messages[0])
    for message in messages:
        total += message
    return np.sign(total)


def words32(negative: np.ndarray) -> np.ndarray:
    """Pack ``(..., 32 m)`` booleans into ``(..., m)`` int32: element i m + c is bit 31 - i of word c.

    Bit 1 is negative. This is the layout of signSGD with majority vote (Bernstein et al., 2019).
    """
    m = negative.shape[-1] // 32
    rows = negative.reshape(*negative.shape[:-1], 32, m)
    words = np.zeros((*negative.shape[:-1], m), dtype=np.uint32)
    for i in range(32):
        words |= rows[..., i, :].astype(np.uint32) << np.uint32(31 - i)
    return words.view(np.int32)


def unpack_vote32(words: Any) -> Any:
    """Vote on torch int32 ``(n, m)`` such words: unpack, sum and pack again, as that implementation does."""
    import torch

    shifts = torch.arange(31, -1, -1, dtype=torch.int32).view(32, 1)
    signs = 1 - 2 * ((words.unsqueeze(1) >> shifts) & 1)
    negative = signs.sum(0) < 0
    return (negative.to(torch.int32) << shifts).sum(0, dtype=torch.int32)


def packbits(x: Any) -> np.ndarray:
    """Pack the signs of a NumPy array or torch tensor into bytes."""
    return np.packbits(np.asarray(x >= 0), bitorder="little")


def unpackbits(data: np.ndarray, d: int) -> np.ndarray:
    """Unpack bytes into float32 signs."""
    return np.unpackbits(data, count=d, bitorder="little").astype(np.float32) * 2 - 1


def momentum_packbits(gradients: list[Any], momenta: list[Any]) -> list[np.ndarray]:
    """Update the momentum of torch tensors in place and pack its signs into bytes."""
    for g, v in zip(gradients, momenta, strict=True):
        v.mul_(MOMENTUM).add_(g, alpha=1 - MOMENTUM)
    return [packbits(v) for v in momenta]


def unpackbits_update(params: list[Any], votes: list[np.ndarray]) -> None:
    """Unpack bytes and step torch tensors, with weight decay."""
    import torch

    for p, bits in zip(params, votes, strict=True):
        signs = torch.from_numpy(unpackbits(bits, p.numel()))
        p.mul_(1 - LR * WEIGHT_DECAY).add_(signs, alpha=-LR)


def signum_step(params: list[Any], gradients: list[Any], momenta: list[Any]) -> None:
    """Take a Signum step, tensor by tensor."""
    import torch

    for p, g, v in zip(params, gradients, momenta, strict=True):
        v.mul_(MOMENTUM).add_(g, alpha=1 - MOMENTUM)
        p.mul_(1 - LR * WEIGHT_DECAY).add_(torch.sign(v), alpha=-LR)


def signum_foreach(params: list[Any], gradients: list[Any], momenta: list[Any]) -> None:
    """Take a Signum step with torch's multi-tensor operations."""
    import torch

    torch._foreach_mul_(momenta, MOMENTUM)
    torch._foreach_add_(momenta, gradients, alpha=1 - MOMENTUM)
    torch._foreach_mul_(params, 1 - LR * WEIGHT_DECAY)
    torch._foreach_add_(params, torch._foreach_sign(momenta), alpha=-LR)


def coded_messages(allocation: Any, signs: Any) -> Any:
    """Return every worker's local majority, from a torch float ``(n, k)`` allocation and ``(k, d)`` signs."""
    return (allocation @ signs).sign()


def coded_vote(allocation: Any, signs: Any) -> Any:
    """Return the vote over the workers' local majorities."""
    return (allocation @ signs).sign().sum(0).sign()


def count_different(signs: np.ndarray, winner: np.ndarray) -> np.ndarray:
    """Count how often each voter differs, from int8 ``(n, d)`` signs and a ``(d,)`` winner."""
    return np.array([np.count_nonzero(row != winner) for row in signs])
