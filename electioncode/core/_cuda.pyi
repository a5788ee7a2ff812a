"""Native CUDA kernels on addresses of device memory; built where nvcc works. Policies and dtypes are indices.

Every function ends with the device, the handle of a CUDA stream, and what gives scratch memory of a size on that
device (16-byte aligned, in use until the stream has passed the call). It queues its kernels and returns. ValueError
for arguments that cannot be right; RuntimeError where there is no such device. Sizes behind addresses are the caller's
word. `_cuda_emulated` has the same functions, of host memory.
"""

from collections.abc import Callable, Sequence

Scratch = Callable[[int], int]
Row = tuple[int, int]  # words, mask (0: none)
Rows = tuple[int, int, int, int, int]  # words, mask (0: none), rows, stride and mask's stride in words

def pack_tensors(
    # dtype, x, v, d, words, mask, first word, stream
    tensors: Sequence[tuple[int, int, int, int, int, int, int, int]],
    beta: float,
    weight: float,
    negate: bool,
    zero: int,
    nan: int,
    seed: int,
    step: int,
    used: int,  # one byte per tensor: where it is 0, words and mask become 0 and v stays; 0: all are used
    saw_nan: int,  # an int32 that becomes 1 where nan is "raise" and there is one; 0: not wanted
    split: tuple[float, float] | None,  # the momentum becomes this sum instead of the one whose signs are taken
    device: int,
    stream: int,
    scratch: Scratch,
) -> None: ...
def unpack_tensors(
    tensors: Sequence[tuple[int, int, int, int, int]],  # dtype, out, d, words, mask
    device: int,
    stream: int,
    scratch: Scratch,
) -> None: ...
def update_tensors(
    tensors: Sequence[tuple[int, int, int, int, int]],  # dtype, parameters, d, words, mask
    decay: float,
    step: float,
    device: int,
    stream: int,
    scratch: Scratch,
) -> None: ...
def majority(
    rows: Sequence[Row],
    weights: Sequence[int] | None,
    d: int,
    tie: int,
    seed: int,
    step: int,
    random_stream: int,
    out: int,
    out_mask: int,
    device: int,
    stream: int,
    scratch: Scratch,
) -> None: ...
def disagreement(
    rows: Sequence[Row],
    winner: int,
    winner_mask: int,
    d: int,
    counts: int,  # int64, zeros: counts are added
    device: int,
    stream: int,
    scratch: Scratch,
) -> None: ...
def counters_majority(
    rows: Sequence[tuple[int, int]],  # words, plane
    maximum: int,
    d: int,
    tie: int,
    seed: int,
    step: int,
    random_stream: int,
    out: int,
    out_mask: int,
    device: int,
    stream: int,
    scratch: Scratch,
) -> None: ...
def counters_margin(
    rows: Sequence[tuple[int, int]], offset: int, d: int, out: int, device: int, stream: int, scratch: Scratch
) -> None: ...
def accumulate(
    words: int,
    mask: int,
    kind: int,
    sums: Sequence[int],
    pending: Sequence[int],
    rest: int,
    d: int,
    device: int,
    stream: int,
    scratch: Scratch,
) -> None: ...
def local_majorities(
    rows: Rows,
    first: Sequence[int],
    members: Sequence[int],
    d: int,
    tie: int,
    seed: int,
    step: int,
    out: Rows,
    device: int,
    stream: int,
    scratch: Scratch,
) -> None: ...
def coded_majority(
    rows: Rows,
    first: Sequence[int],
    members: Sequence[int],
    d: int,
    tie: int,
    seed: int,
    step: int,
    out: int,
    out_mask: int,
    device: int,
    stream: int,
    scratch: Scratch,
) -> None: ...
def device_count() -> tuple[int, str]: ...  # 0 and why, where there is none
def is_emulated() -> bool: ...
def built_for() -> str: ...
