"""Pick the voter for the device on which the parameters lie."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from electioncode import core
from electioncode.hooks.layout import ParameterSlot
from electioncode.hooks.voter import WHO, BucketVoter
from electioncode.hooks.voter_cpu import CpuBucketVoter
from electioncode.hooks.voter_cuda import CudaBucketVoter


def voter_of(slots: list[ParameterSlot], *arguments: Any) -> BucketVoter:
    """Return the voter for the parameters' device; the CPU's where this build has no kernels for it."""
    device = slots[0].parameter.device if slots else torch.device("cpu")
    if device.type != "cpu" and core.cuda_unavailable():
        warnings.warn(f"{WHO}: gradients are copied to the CPU to vote: {core.cuda_unavailable()}", stacklevel=4)
    elif slots and core.backend_of(slots[0].parameter, WHO, "parameters").name == "cuda":
        return CudaBucketVoter(device, slots, *arguments)
    return CpuBucketVoter(torch.device("cpu"), slots, *arguments)
