"""A copy of a model's parameters where the vote can reach them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from electioncode import build_config


class HostCopy:
    """Copy the parameters of a model on another device to the CPU, to vote and update there.

    Args:
        parameters: of the model; their gradients are fetched before a vote, their values put back after an update.

    Every vote moves the whole gradient over the bus, through pinned memory if there is a CUDA device.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._there = list(parameters)
        self.parameters: list[nn.Parameter] = []
        for p in self._there:
            here = nn.Parameter(_empty(p).copy_(p.detach()))
            here.grad = _empty(p)
            self.parameters.append(here)

    @torch.no_grad()
    def fetch_gradients(self) -> None:
        """Copy the model's gradients here."""
        for here, there in zip(self.parameters, self._there, strict=True):
            assert here.grad is not None
            if there.grad is None:
                raise ValueError(f"HostCopy: the parameter of shape {tuple(there.shape)} has no gradient")
            here.grad.copy_(there.grad, non_blocking=there.is_cuda)
        if any(p.is_cuda for p in self._there):
            torch.cuda.synchronize()

    @torch.no_grad()
    def put_values(self) -> None:
        """Copy the updated values to the model."""
        for here, there in zip(self.parameters, self._there, strict=True):
            there.copy_(here)


def _empty(p: torch.Tensor) -> torch.Tensor:
    return torch.empty(p.shape, dtype=p.dtype, pin_memory=p.is_cuda)


def needs_copy(device: str | torch.device, attack: str | None = None) -> bool:
    """Return whether votes on this device must go through the CPU, as those of omniscient colluders always do."""
    return torch.device(device).type != "cpu" and (not build_config()["cuda"] or attack == "omniscient")
