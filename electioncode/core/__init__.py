"""The only door to the native code: kernels for any kind of array, and what is checked before they run.

`tensors` and `traced` need torch and are imported by those who use them; nothing else here does.
"""

from __future__ import annotations

from typing import Any

from electioncode.core.arrays import TracedArrays, is_traced
from electioncode.core.backend import (
    Backend,
    backend_of,
    backend_on,
    build_config,
    cuda_unavailable,
    instruction_set,
    instruction_sets,
    num_threads,
    numpy_backend,
    set_instruction_set,
    set_num_threads,
    synchronize,
)
from electioncode.core.checks import (
    NAN,
    PURPOSE_ATTACK,
    PURPOSE_SIMULATION,
    PURPOSE_TIE,
    TIE,
    ZERO,
    choice,
    integer,
    key,
    number,
)
from electioncode.core.native import checksum, cpu
from electioncode.core.wire import FrameError
from electioncode.core.words import full_mask, popcounts, words_for


def in_graph(backend: Backend, a: Any) -> Any:
    """Return the backend or, where torch.compile traces the tensor, that of the graph which is being written."""
    if backend.torch is None or not is_traced(backend.torch, a):
        return backend
    from electioncode.core import traced

    return TracedArrays(backend, traced)
