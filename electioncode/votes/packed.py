"""Hold sign votes, one bit per coordinate, and turn numbers into votes and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from electioncode import core
from electioncode.core import full_mask, wire, words_for


class PackedSigns:
    """Sign votes of d coordinates, for one voter ``(d,)`` or for n voters ``(n, d)``.

    Args:
        words: ``(ceil(d / 64),)`` or ``(n, ceil(d / 64))``, uint64 (NumPy) or int64 (torch). Coordinate c is bit
            ``c % 64`` of word ``c // 64``; bit 1 is the vote +1, bit 0 the vote -1. Padding bits are 0.
        d: the number of coordinates.
        mask: of the same shape as words; bit 1 where the coordinate voted. None: every coordinate voted.
            A vote's bit is 0 where its mask is 0.

    The bytes equal ``np.packbits(x > 0, axis=-1, bitorder="little")``, padded with zero bits to whole words.
    Raises TypeError or ValueError where words, d and mask do not fit each other.
    """

    __slots__ = ("backend", "d", "mask", "words")

    def __init__(self, words: Any, d: int, mask: Any = None) -> None:
        self.backend = core.backend_of(words, "PackedSigns", "words")
        if words.dtype != self.backend.word:
            raise TypeError(f"PackedSigns: words must be uint64 (NumPy) or int64 (torch), got {words.dtype}")
        if d < 0:
            raise ValueError(f"PackedSigns: d must be at least 0, got {d}")
        if words.ndim not in (1, 2) or words.shape[-1] != words_for(d):
            expected = f"({words_for(d)},) or (n, {words_for(d)}) for d = {d}"
            raise ValueError(f"PackedSigns: words must have shape {expected}, got {tuple(words.shape)}")
        if mask is not None:
            if core.backend_of(mask, "PackedSigns", "mask") is not self.backend or mask.dtype != self.backend.word:
                raise TypeError("PackedSigns: mask must be an array of words like words")
            if tuple(mask.shape) != tuple(words.shape):
                raise ValueError(f"PackedSigns: mask must have shape {tuple(words.shape)}, got {tuple(mask.shape)}")
        self.words = words
        self.d = int(d)
        self.mask = mask

    @property
    def shape(self) -> tuple[int, ...]:
        """``(d,)`` or ``(n, d)``."""
        return (*tuple(self.words.shape)[:-1], self.d)

    @property
    def ndim(self) -> int:
        return self.words.ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, row: int | slice) -> PackedSigns:
        """Return a voter, or a slice of voters, of ``(n, d)`` votes: a view."""
        if self.ndim != 2:
            raise IndexError("PackedSigns: only votes of shape (n, d) have rows")
        return PackedSigns(self.words[row], self.d, None if self.mask is None else self.mask[row])

    def __eq__(self, other: object) -> bool:
        """Compare shape and votes; a mask of all ones equals none."""
        if not isinstance(other, PackedSigns):
            return NotImplemented
        if self.shape != other.shape:
            return False
        mine, theirs = self.numpy(), other.numpy()
        full = np.broadcast_to(full_mask(self.d), mine[0].shape)
        ours, others = (full if m is None else m for m in (mine[1], theirs[1]))
        return np.array_equal(mine[0], theirs[0]) and np.array_equal(ours, others)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        masked = "" if self.mask is None else ", masked"
        return f"PackedSigns(shape={self.shape}, {self.backend.name}{masked})"

    def numpy(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return words and mask as uint64 NumPy arrays: views where possible; from a GPU copies, awaited."""
        return self.backend.host(self.words), None if self.mask is None else self.backend.host(self.mask)

    def arrays(self, backend: Any = None) -> tuple[Any, Any]:
        """Return words and mask as the core of a backend takes them; None: of their own."""
        backend = backend or self.backend
        return backend.view(self.words), None if self.mask is None else backend.view(self.mask)

    def like(self, backend: core.Backend) -> PackedSigns:
        """Return the same votes where a backend's core can count them: a copy only from one device to another."""
        if self.backend.core is backend.core:
            return self
        words, mask = self.numpy()
        return PackedSigns(backend.adopt(words), self.d, None if mask is None else backend.adopt(mask))

    def unpack(self, dtype: Any = None, *, out: Any = None) -> Any:
        """Return +1 and -1, and 0 where a coordinate abstained, of shape ``shape``.

        Args:
            dtype: int8, float16, bfloat16, float32 (default) or float64 of the votes' own library.
            out: an array of that shape to fill instead.

        Equals ``np.where(bits, 1, -1) * voted``. Raises TypeError for another dtype.
        """
        backend = core.in_graph(self.backend, self.words)
        if out is None:
            out = backend.empty(self.shape, "float32" if dtype is None else dtype)
        elif tuple(out.shape) != self.shape:
            raise ValueError(f"unpack: out must have shape {self.shape}, got {tuple(out.shape)}")
        backend.core.unpack(*self.arrays(backend), backend.signs(out))
        return out

    def to_bytes(self, *, step: int = 0, sender: int = 0) -> bytes:
        """Return one voter's signs as a self-describing frame (see `electioncode.frame`)."""
        return wire.encode(*self.numpy(), self.d, step=step, sender=sender).tobytes()

    @staticmethod
    def from_bytes(data: Any) -> PackedSigns:
        """Return the votes of a frame, as a NumPy view where it is aligned; raise FrameError if it is malformed."""
        message = wire.decode(data)
        return PackedSigns(message.words, message.d, message.mask)


def outputs(votes: PackedSigns, function: str, backend: Any = None) -> tuple[Any, Any]:
    """Return words and mask as views that the core of a backend may write to; None: of their own."""
    backend = backend or votes.backend
    return backend.output(votes.words, function), None if votes.mask is None else backend.output(votes.mask, function)


def new_votes(
    backend: Any, shape: tuple[int, ...], d: int, masked: bool, out: PackedSigns | None, function: str
) -> PackedSigns:
    """Make votes, or check `out`: its words, and a mask exactly where one is written."""
    if out is None:
        size = (*shape, words_for(d))
        return PackedSigns(backend.empty(size), d, backend.empty(size) if masked else None)
    if not isinstance(out, PackedSigns) or out.backend is not backend.eager:
        raise TypeError(f"{function}: out must be PackedSigns of the same kind of array as the input")
    if out.shape != (*shape, d):
        raise ValueError(f"{function}: out must have shape {(*shape, d)}, got {out.shape}")
    if (out.mask is not None) != masked:
        raise ValueError(f"{function}: out must have {'a' if masked else 'no'} mask for these policies")
    return out


def pack(
    x: Any,
    zero: str = "plus",
    nan: str = "raise",
    *,
    seed: int = 0,
    step: int = 0,
    stream: int = 0,
    out: PackedSigns | None = None,
) -> PackedSigns:
    """Take the signs of x, one bit per coordinate.

    Args:
        x: ``(d,)`` or ``(n, d)``; float16, bfloat16, float32 or float64; any strides and alignment.
        zero: what 0.0 and -0.0 vote: "plus", "minus", "random" or "abstain".
        nan: "raise" (ValueError; on a CUDA device later, see :func:`synchronize`), "minus" or "abstain".
        seed, step, stream: of the random bits, each 0 to 2**32 - 1; row i draws from stream + i.
        out: PackedSigns to fill, with a mask exactly where a policy abstains.

    Equals ``np.packbits(x >= 0, axis=-1, bitorder="little")`` in whole words. Signs are taken by comparing
    integers, so flush-to-zero modes change nothing. (Election Coding, Section 2: m_j = sign of partition j's gradient.)
    """
    backend = core.in_graph(core.backend_of(x, "pack"), x)
    zeros = core.choice("pack", "zero", zero, core.ZERO)
    nans = core.choice("pack", "nan", nan, core.NAN)
    keys = core.key("pack", seed=seed, step=step, stream=stream)
    if x.ndim not in (1, 2):
        raise ValueError(f"pack: x must have shape (d,) or (n, d), got {tuple(x.shape)}")
    result = new_votes(backend, tuple(x.shape[:-1]), x.shape[-1], "abstain" in (zero, nan), out, "pack")
    words, mask = outputs(result, "pack", backend)
    if backend.core.pack(backend.floats(x, "pack"), words, mask, zeros, nans, *keys) and nan == "raise":
        raise ValueError("pack: x has NaN; choose nan='minus' or nan='abstain' to vote without it")
    return result


def random_signs(
    d: int, *, seed: int = 0, step: int = 0, stream: int = 0, purpose: int = core.PURPOSE_ATTACK
) -> PackedSigns:
    """Draw ``(d,)`` random votes: the same bits on every machine, device and number of threads.

    Philox4x32-10 with key (seed, step) and counter (word index, stream, purpose), each 0 to 2**32 - 1.
    """
    d = core.integer("random_signs", "d", d, 0)
    keys = core.key("random_signs", seed=seed, step=step, stream=stream, purpose=purpose)
    words = np.empty(words_for(d), dtype=np.uint64)
    core.cpu.random_words(words, *keys)
    words &= full_mask(d)
    return PackedSigns(words, d)
