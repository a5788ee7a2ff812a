"""Send every rank's message straight to every other rank: an all-gather may relay it through ranks that lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from electioncode import core


def exchange(message: torch.Tensor, group: Any, one_for_each: bool = False) -> tuple[torch.Tensor, Any]:
    """Start to exchange messages; return all ranks' messages ``(n, bytes)`` uint8 and the work to wait for.

    A message is ``(words,)`` int64; with one_for_each it is ``(n, words)``, a row for each rank. What comes lies where
    the message does, or where the group can take it from no other place.
    """
    n, device = dist.get_world_size(group), message_device(group, message.device)
    own = message
    if device != message.device:  # over the host
        backend: Any = core.backend_of(message, "majority_vote_hook")
        own = torch.from_numpy(backend.host(message).view(np.int64)).to(device)
    outgoing = [m.view(torch.uint8) for m in (own.unbind() if one_for_each else [own] * n)]
    inbox = torch.empty((n, outgoing[0].numel()), dtype=torch.uint8, device=device)
    return inbox, dist.all_to_all(list(inbox.unbind()), outgoing, group=group, async_op=True)


def message_device(group: Any, device: torch.device) -> torch.device:
    """Return where a group takes messages that lie on a device: right there, if it can."""
    backends = dist.get_backend_config(group)
    if "gloo" in backends and (device.type == "cpu" or "nccl" not in backends):
        return torch.device("cpu")
    return device if device.type == "cuda" else torch.device("cuda", torch.cuda.current_device())


def to_words(inbox: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return messages ``(n, bytes)`` as words ``(n, words)`` on the device of their votes."""
    words = inbox.view(torch.int64)
    if words.device == device:
        return words
    if device.type == "cpu":
        return words.cpu()
    return core.backend_on(device).adopt(words.numpy().view(np.uint64))
