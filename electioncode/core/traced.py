"""Operators of torch.library: what torch.compile and torch.export see instead of native calls.

The public functions come here by themselves where they are traced (see `arrays.TracedArrays`), so compiled code calls
the public names and has no graph break. The operators are ``torch.ops.electioncode.*`` with the schemas below. Their
rules are those of the public functions of the same names; `pack_tensors` and `update_tensors` are the two ends of a
Signum or Lion step on dense tensors (`momenta` and `split` may be empty).

Votes come out as planes, int64 ``(1 or 2, ..., ceil(d / 64))``: words, then the mask where there is one. Voters go in
as one tensor of words ``(n, ceil(d / 64))``, or as n tensors ``(ceil(d / 64),)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from electioncode.core import tensors as lists
from electioncode.core.backend import backend_of
from electioncode.core.checks import NAN, TIE, ZERO, choice, key
from electioncode.core.words import words_for

ops = torch.ops.electioncode
Rows = Sequence[Tensor]
Masks = Sequence[Tensor | None]


def _planes(like: Tensor, shape: Sequence[Any], d: Any, masked: bool) -> Tensor:
    return like.new_empty((2 if masked else 1, *shape, words_for(d)), dtype=torch.int64)


def _outputs(planes: Tensor, who: str) -> tuple[Any, Any]:
    """Return words and mask (or None) of planes as the core writes them."""
    backend: Any = backend_of(planes, who)
    return backend.output(planes[0], who), backend.output(planes[1], who) if planes.shape[0] == 2 else None


def _view(t: Tensor | None, who: str) -> Any:
    backend: Any = None if t is None else backend_of(t, who, "words")
    return backend and backend.view(t)


def _voters(words: Rows, masks: Masks, who: str) -> tuple[Any, Any]:
    """Return voters as the core takes them: one 2-D array, or rows that lie anywhere."""
    if len(words) == 1 and words[0].ndim == 2:
        return _view(words[0], who), _view(masks[0], who)
    return [_view(w, who) for w in words], [_view(m, who) for m in masks]


def _operator(schema: str, mutates: tuple[str, ...] = ()) -> Callable[[Callable[..., Any]], Any]:
    """Register a function as the operator of a schema ``name(arguments) -> result``."""
    name, _, rest = schema.partition("(")
    return torch.library.custom_op(f"electioncode::{name}", mutates_args=mutates, schema=f"({rest}")


@_operator("pack(Tensor x, str zero, str nan, SymInt seed, SymInt step, SymInt stream) -> Tensor")
def _pack(x: Tensor, zero: str, nan: str, seed: int, step: int, stream: int) -> Tensor:
    backend: Any = backend_of(x, "pack")
    policies = choice("pack", "zero", zero, ZERO), choice("pack", "nan", nan, NAN)
    keys = key("pack", seed=seed, step=step, stream=stream)
    planes = _planes(x, x.shape[:-1], x.shape[-1], "abstain" in (zero, nan))
    has_nan = backend.core.pack(backend.floats(x, "pack"), *_outputs(planes, "pack"), *policies, *keys)
    if has_nan and nan == "raise":
        raise ValueError("pack: x has NaN; choose nan='minus' or nan='abstain' to vote without it")
    return planes


@_pack.register_fake
def _(x: Tensor, zero: str, nan: str, *keys: Any) -> Tensor:
    return _planes(x, x.shape[:-1], x.shape[-1], "abstain" in (zero, nan))


@_operator("unpack(Tensor words, Tensor? mask, SymInt d, ScalarType dtype) -> Tensor")
def _unpack(words: Tensor, mask: Tensor | None, d: int, dtype: torch.dtype) -> Tensor:
    backend: Any = backend_of(words, "unpack", "words")
    out = backend.empty((*words.shape[:-1], d), dtype)
    backend.core.unpack(_view(words, "unpack"), _view(mask, "unpack"), backend.signs(out))
    return out


@_unpack.register_fake
def _(words: Tensor, mask: Tensor | None, d: int, dtype: torch.dtype) -> Tensor:
    return words.new_empty((*words.shape[:-1], d), dtype=dtype)


@_operator(
    "majority(Tensor[] words, Tensor?[] masks, SymInt d, str tie, int[]? weights, SymInt seed, SymInt step, "
    "SymInt stream) -> Tensor"
)
def _majority(words: Rows, masks: Masks, d: int, tie: str, weights: Sequence[int] | None, *keys: int) -> Tensor:
    policy = choice("majority", "tie", tie, TIE)
    planes = _planes(words[0], (), d, tie == "abstain")
    voters, outputs = _voters(words, masks, "majority"), _outputs(planes, "majority")
    core: Any = backend_of(words[0], "majority", "words").core
    core.majority(*voters, None if weights is None else list(weights), d, policy, *keys, *outputs, False)
    return planes


@_majority.register_fake
def _(words: Rows, masks: Masks, d: int, tie: str, *rest: Any) -> Tensor:
    return _planes(words[0], (), d, tie == "abstain")


@_operator("disagreement(Tensor[] words, Tensor?[] masks, Tensor winner, Tensor? winner_mask, SymInt d) -> Tensor")
def _disagreement(words: Rows, masks: Masks, winner: Tensor, winner_mask: Tensor | None, d: int) -> Tensor:
    who = "disagreement"
    backend: Any = backend_of(words[0], who, "words")
    result = _view(winner, who), _view(winner_mask, who)
    return backend.integers(backend.core.disagreement(*_voters(words, masks, who), *result, d))


@_disagreement.register_fake
def _(words: Rows, masks: Masks, winner: Tensor, winner_mask: Tensor | None, d: int) -> Tensor:
    n = words[0].shape[0] if words[0].ndim == 2 else len(words)
    return words[0].new_empty((n,), dtype=torch.int64)


@_operator(
    "pack_tensors(Tensor[] tensors, Tensor(a!)[] momenta, float beta, float weight, bool negate, bool masked, "
    "str zero, str nan, SymInt seed, SymInt step, SymInt stream, float[] split) -> Tensor",
    mutates=("momenta",),
)
def _pack_tensors(
    tensors: Rows, momenta: Rows, beta: float, weight: float, negate: bool, masked: bool, *rest: Any
) -> Tensor:
    zero, nan, seed, step, stream, split = rest
    who = "electioncode::pack_tensors"
    planes = _planes(tensors[0], (), 64 * lists.num_words(tensors), masked)
    rule = lists.MomentumRule(beta, weight, negate, (split[0], split[1]) if split else None)
    where = lists.RandomStream(seed, step, stream, 0)
    has_nan = lists.pack_tensors(who, tensors, momenta or None, rule, _outputs(planes, who), (zero, nan), where)
    if has_nan and nan == "raise":
        raise ValueError(f"{who}: NaN in the tensors or momenta")
    return planes


@_pack_tensors.register_fake
def _(tensors: Rows, momenta: Rows, beta: float, weight: float, negate: bool, masked: bool, *rest: Any) -> Tensor:
    return _planes(tensors[0], (), 64 * sum(words_for(x.numel()) for x in tensors), masked)


@_operator(
    "update_tensors(Tensor(a!)[] params, Tensor words, Tensor? mask, Tensor lr, float weight_decay) -> ()",
    mutates=("params",),
)
def _update_tensors(params: Rows, words: Tensor, mask: Tensor | None, lr: Tensor, weight_decay: float) -> None:
    who = "electioncode::update_tensors"
    lists.update_tensors(who, params, (_view(words, who), _view(mask, who)), float(lr), weight_decay)


@_update_tensors.register_fake
def _(params: Rows, words: Tensor, mask: Tensor | None, lr: Tensor, weight_decay: float) -> None:
    return None


# The operations of the core with its names and arguments, as a graph has them: see `arrays.TracedArrays`.


def pack(x: Tensor, words: Tensor, mask: Tensor | None, zero: int, nan: int, *keys: int) -> bool:
    _store(ops.pack(x, ZERO[zero], NAN[nan], *keys), words, mask)
    return False  # a NaN raises when the graph runs


def unpack(words: Tensor, mask: Tensor | None, out: Tensor) -> None:
    out.copy_(ops.unpack(words, mask, out.shape[-1], out.dtype))


def majority(words: Any, masks: Any, weights: Any, d: int, tie: int, *arguments: Any) -> Tensor | None:
    *keys, out, out_mask, count_differences = arguments
    voters = _lists(words, masks)
    _store(ops.majority(*voters, d, TIE[tie], weights, *keys), out, out_mask)
    return ops.disagreement(*voters, out, out_mask, d) if count_differences else None


def disagreement(words: Any, masks: Any, winner: Tensor, winner_mask: Tensor | None, d: int) -> Tensor:
    return ops.disagreement(*_lists(words, masks), winner, winner_mask, d)


def _lists(words: Any, masks: Any) -> tuple[list[Tensor], list[Tensor | None]]:
    return ([words], [masks]) if isinstance(words, Tensor) else (words, masks)


def _store(planes: Tensor, words: Tensor, mask: Tensor | None) -> None:
    words.copy_(planes[0])
    if mask is not None:
        mask.copy_(planes[1])
