"""Native CPU kernels on NumPy arrays. Words are uint64; bfloat16 comes as uint16 bits. Policies are indices."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float16] | npt.NDArray[np.float32] | npt.NDArray[np.float64] | npt.NDArray[np.uint16]

def pack(
    x: Floats, words: Words, mask: Words | None, zero: int, nan: int, seed: int, step: int, stream: int
) -> bool: ...
def pack_tensors(
    tensors: Sequence[Floats],
    momenta: Sequence[Floats] | None,
    beta: float,
    weight: float,
    negate: bool,
    words: Words,
    mask: Words | None,
    zero: int,
    nan: int,
    seed: int,
    step: int,
    stream: int,
    first_word: int,
    split: tuple[float, float] | None = None,
) -> bool: ...
def pack_addresses(
    tensors: Sequence[tuple[int, int, int, int]],  # dtype (float16, bfloat16, float32, float64), x, v (0: none), d
    beta: float,
    weight: float,
    negate: bool,
    words: Words,
    mask: Words | None,
    zero: int,
    nan: int,
    seed: int,
    step: int,
    stream: int,
    first_word: int,
    split: tuple[float, float] | None,
) -> bool: ...
def unpack(words: Words, mask: Words | None, out: Floats | npt.NDArray[np.int8]) -> None: ...
def update_tensors(params: Sequence[Floats], words: Words, mask: Words | None, decay: float, step: float) -> None: ...
def update_addresses(
    params: Sequence[tuple[int, int, int]],  # dtype, parameters, d
    words: Words,
    mask: Words | None,
    decay: float,
    step: float,
) -> None: ...
def majority(
    words: Words | Sequence[Words],
    masks: Words | Sequence[Words | None] | None,
    weights: Sequence[int] | None,
    d: int,
    tie: int,
    seed: int,
    step: int,
    stream: int,
    out: Words,
    out_mask: Words | None,
    count_differences: bool,
) -> npt.NDArray[np.int64] | None: ...
def local_majorities(
    words: Words,
    masks: Words | None,
    first: Sequence[int],
    members: Sequence[int],
    d: int,
    tie: int,
    seed: int,
    step: int,
    out: Words,
    out_mask: Words | None,
) -> None: ...
def coded_majority(
    words: Words,
    masks: Words | None,
    first: Sequence[int],
    members: Sequence[int],
    d: int,
    tie: int,
    seed: int,
    step: int,
    out: Words,
    out_mask: Words | None,
) -> None: ...
def disagreement(
    words: Words | Sequence[Words],
    masks: Words | Sequence[Words | None] | None,
    winner: Words,
    winner_mask: Words | None,
    d: int,
) -> npt.NDArray[np.int64]: ...
def accumulate(
    words: Words, mask: Words | None, kind: int, sums: Sequence[Words], pending: Sequence[Words], rest: Words, d: int
) -> None: ...
def counters_majority(
    rows: Sequence[Words],
    planes: Sequence[int],
    maximum: int,
    d: int,
    tie: int,
    seed: int,
    step: int,
    stream: int,
    out: Words,
    out_mask: Words | None,
) -> None: ...
def counters_margin(
    rows: Sequence[Words], planes: Sequence[int], offset: int, d: int, out: npt.NDArray[np.int32]
) -> None: ...
def random_words(out: Words, seed: int, step: int, stream: int, purpose: int) -> None: ...
def checksum(words: Words) -> int: ...
def read(words: Words) -> int: ...
def copy(source: Words, target: Words) -> None: ...
def rewrite(source: Words, target: Words) -> None: ...
def instruction_sets() -> list[tuple[str, bool]]: ...
def instruction_set() -> str: ...
def set_instruction_set(name: str) -> None: ...
def num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def build_info() -> dict[str, str | bool]: ...
