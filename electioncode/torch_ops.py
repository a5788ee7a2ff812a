"""Votes and updates as operators of torch.library: what torch.compile and torch.export see instead of native calls.

``ec.pack``, ``ec.majority``, ``ec.disagreement``, ``PackedSigns.unpack`` and the optimizers come here by themselves
where they are traced, so compiled code calls the public names and has no graph break. The operators are
``torch.ops.electioncode.*`` with the schemas below. Their rules are those of the public functions of the same names;
`pack_tensors` and `update_tensors` are the two ends of a Signum or Lion step on dense tensors (`momenta` and `split`
may be empty).

Votes come out as planes, int64 ``(1 or 2, ..., ceil(d / 64))``: words, then the mask where there is one. Voters go in
as one tensor of words ``(n, ceil(d / 64))``, or as n tensors ``(ceil(d / 64),)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from electioncode import voting
from electioncode.optim import tensors as lists
from electioncode.signs import PackedSigns, pack, words_for


def _planes(like: Tensor, shape: Sequence[Any], d: Any, masked: bool) -> Tensor:
    return like.new_empty((2 if masked else 1, *shape, words_for(d)), dtype=torch.int64)


def _votes(planes: Tensor, d: Any) -> PackedSigns:
    return PackedSigns(planes[0], d, planes[1] if planes.shape[0] == 2 else None)


def _voters(words: Sequence[Tensor], masks: Sequence[Tensor | None], d: int) -> PackedSigns | list[PackedSigns]:
    voters = [PackedSigns(w, d, m) for w, m in zip(words, masks, strict=True)]
    return voters[0] if len(voters) == 1 and voters[0].ndim == 2 else voters


@torch.library.custom_op(
    "electioncode::pack",
    mutates_args=(),
    schema="(Tensor x, str zero, str nan, SymInt seed, SymInt step, SymInt stream) -> Tensor",
)
def _pack(x: Tensor, zero: str, nan: str, seed: int, step: int, stream: int) -> Tensor:
    planes = _planes(x, x.shape[:-1], x.shape[-1], "abstain" in (zero, nan))
    pack(x, zero, nan, seed=seed, step=step, stream=stream, out=_votes(planes, x.shape[-1]))
    return planes


@_pack.register_fake
def _(x: Tensor, zero: str, nan: str, seed: int, step: int, stream: int) -> Tensor:
    return _planes(x, x.shape[:-1], x.shape[-1], "abstain" in (zero, nan))


@torch.library.custom_op(
    "electioncode::unpack",
    mutates_args=(),
    schema="(Tensor words, Tensor? mask, SymInt d, ScalarType dtype) -> Tensor",
)
def _unpack(words: Tensor, mask: Tensor | None, d: int, dtype: torch.dtype) -> Tensor:
    return PackedSigns(words, d, mask).unpack(dtype)


@_unpack.register_fake
def _(words: Tensor, mask: Tensor | None, d: int, dtype: torch.dtype) -> Tensor:
    return words.new_empty((*words.shape[:-1], d), dtype=dtype)


@torch.library.custom_op(
    "electioncode::majority",
    mutates_args=(),
    schema="(Tensor[] words, Tensor?[] masks, SymInt d, str tie, int[]? weights, SymInt seed, SymInt step, "
    "SymInt stream) -> Tensor",
)
def _majority(
    words: Sequence[Tensor],
    masks: Sequence[Tensor | None],
    d: int,
    tie: str,
    weights: Sequence[int] | None,
    seed: int,
    step: int,
    stream: int,
) -> Tensor:
    planes = _planes(words[0], (), d, tie == "abstain")
    out = _votes(planes, d)
    voting.majority(_voters(words, masks, d), tie, weights, seed=seed, step=step, stream=stream, out=out)
    return planes


@_majority.register_fake
def _(
    words: Sequence[Tensor],
    masks: Sequence[Tensor | None],
    d: int,
    tie: str,
    weights: Sequence[int] | None,
    seed: int,
    step: int,
    stream: int,
) -> Tensor:
    return _planes(words[0], (), d, tie == "abstain")


@torch.library.custom_op(
    "electioncode::disagreement",
    mutates_args=(),
    schema="(Tensor[] words, Tensor?[] masks, Tensor winner, Tensor? winner_mask, SymInt d) -> Tensor",
)
def _disagreement(
    words: Sequence[Tensor], masks: Sequence[Tensor | None], winner: Tensor, winner_mask: Tensor | None, d: int
) -> Tensor:
    return voting.disagreement(_voters(words, masks, d), PackedSigns(winner, d, winner_mask))


@_disagreement.register_fake
def _(
    words: Sequence[Tensor], masks: Sequence[Tensor | None], winner: Tensor, winner_mask: Tensor | None, d: int
) -> Tensor:
    n = words[0].shape[0] if words[0].ndim == 2 else len(words)
    return words[0].new_empty((n,), dtype=torch.int64)


@torch.library.custom_op(
    "electioncode::pack_tensors",
    mutates_args=("momenta",),
    schema="(Tensor[] tensors, Tensor(a!)[] momenta, float beta, float weight, bool negate, bool masked, str zero, "
    "str nan, SymInt seed, SymInt step, SymInt stream, float[] split) -> Tensor",
)
def _pack_tensors(
    tensors: Sequence[Tensor],
    momenta: Sequence[Tensor],
    beta: float,
    weight: float,
    negate: bool,
    masked: bool,
    zero: str,
    nan: str,
    seed: int,
    step: int,
    stream: int,
    split: Sequence[float],
) -> Tensor:
    who = "electioncode::pack_tensors"
    planes = _planes(tensors[0], (), 64 * lists.num_words(tensors), masked)
    rule = lists.Rule(beta, weight, negate, (split[0], split[1]) if split else None)
    votes = _votes(planes, 64 * planes.shape[-1]).arrays()
    has_nan = lists.pack_tensors(who, tensors, momenta or None, rule, votes, zero, nan, (seed, step, stream, 0))
    if has_nan and nan == "raise":
        raise ValueError(f"{who}: NaN in the tensors or momenta")
    return planes


@_pack_tensors.register_fake
def _(
    tensors: Sequence[Tensor],
    momenta: Sequence[Tensor],
    beta: float,
    weight: float,
    negate: bool,
    masked: bool,
    *rest: Any,
) -> Tensor:
    return _planes(tensors[0], (), 64 * sum(words_for(x.numel()) for x in tensors), masked)


@torch.library.custom_op(
    "electioncode::update_tensors",
    mutates_args=("params",),
    schema="(Tensor(a!)[] params, Tensor words, Tensor? mask, Tensor lr, float weight_decay) -> ()",
)
def _update_tensors(
    params: Sequence[Tensor], words: Tensor, mask: Tensor | None, lr: Tensor, weight_decay: float
) -> None:
    votes = PackedSigns(words, 64 * words.shape[-1], mask)
    lists.update_tensors("electioncode::update_tensors", params, votes.arrays(), float(lr), weight_decay)


@_update_tensors.register_fake
def _(params: Sequence[Tensor], words: Tensor, mask: Tensor | None, lr: Tensor, weight_decay: float) -> None:
    return None


ops = torch.ops.electioncode

# What the public functions do where they are traced: the same arguments, checked by them.


def traced_pack(x: Tensor, zero: str, nan: str, keys: tuple[int, ...], out: PackedSigns | None) -> PackedSigns:
    return _into(out, _votes(ops.pack(x, zero, nan, *keys), x.shape[-1]))


def traced_unpack(votes: PackedSigns, dtype: Any, out: Tensor | None) -> Tensor:
    if out is not None:
        return out.copy_(ops.unpack(votes.words, votes.mask, votes.d, out.dtype))
    return ops.unpack(votes.words, votes.mask, votes.d, torch.float32 if dtype is None else dtype)


def traced_majority(
    words: list[Tensor],
    masks: list[Tensor | None],
    d: int,
    tie: str,
    weights: Any,
    keys: tuple[int, ...],
    out: PackedSigns | None,
) -> PackedSigns:
    return _into(out, _votes(ops.majority(words, masks, d, tie, weights, *keys), d))


def _into(out: PackedSigns | None, votes: PackedSigns) -> PackedSigns:
    if out is None:
        return votes
    out.words.copy_(votes.words)
    if out.mask is not None:
        out.mask.copy_(votes.mask)
    return out
