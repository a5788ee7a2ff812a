"""Read CIFAR-10 as its authors publish it: batches as Python pickles or as plain bytes."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Per channel of the training images, as in the paper.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2023, 0.1994, 0.2010)

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
_TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
_TEST = "test_batch"
_FOLDERS = ("cifar-10-batches-py", "cifar-10-batches-bin")  # as they come out of the archives

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


def find(path: str | Path) -> Path | None:
    """Return the folder with the batches: ``path``, or the folder in it that an archive holds; None without either."""
    root = Path(path)
    for folder in (root, *(root / name for name in _FOLDERS)):
        if any((folder / f"{_TRAIN[0]}{suffix}").is_file() for suffix in ("", ".bin")):
            return folder
    return None


def read(path: str | Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
    """Return training images and labels, test images and labels.

    Args:
        path: see `find`; the folder holds data_batch_1 to data_batch_5 and test_batch, or the same with ``.bin``.

    Returns:
        uint8 ``(N, 3, 32, 32)``, red, green and blue, and int64 ``(N,)``, for training and for the test.

    Raises ValueError, which names the file, if one is missing or malformed.
    """
    folder = find(path)
    if folder is None:
        raise ValueError(f"CIFAR-10: {path} must hold {_TRAIN[0]} or {_TRAIN[0]}.bin, or a folder {_FOLDERS[0]}")
    one = _read_binary if (folder / f"{_TRAIN[0]}.bin").is_file() else _read_pickle
    suffix = ".bin" if one is _read_binary else ""
    for name in (*_TRAIN, _TEST):
        if not (folder / f"{name}{suffix}").is_file():
            raise ValueError(f"CIFAR-10: {folder} must hold {name}{suffix}, has none")
    parts = [one(folder / f"{name}{suffix}") for name in _TRAIN]
    test = one(folder / f"{_TEST}{suffix}")
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), *test


def _read_binary(file: Path) -> Batch:
    """Read records of one label and the red, green and blue pixels, one byte each."""
    raw = np.fromfile(file, dtype=np.uint8)
    if raw.size == 0 or raw.size % (1 + _PIXELS):
        raise ValueError(f"CIFAR-10: {file} must hold records of {1 + _PIXELS} bytes, got {raw.size} bytes")
    records = raw.reshape(-1, 1 + _PIXELS)
    return _checked(records[:, 1:], records[:, 0], file)


def _read_pickle(file: Path) -> Batch:
    """Read a dictionary with uint8 data (N, 3072) and a list of labels."""
    try:
        content = _Unpickler(io.BytesIO(file.read_bytes()), encoding="bytes").load()
        data, labels = np.asarray(content[b"data"]), content[b"labels"]
    except (pickle.UnpicklingError, KeyError, TypeError, EOFError) as error:
        raise ValueError(f"CIFAR-10: {file} is not a pickled batch: {error}") from error
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape != (len(labels), _PIXELS):
        raise ValueError(
            f"CIFAR-10: {file} must hold uint8 data ({len(labels)}, {_PIXELS}), got {data.dtype} {data.shape}"
        )
    return _checked(data, np.asarray(labels), file)


def _checked(pixels: NDArray[np.uint8], labels: NDArray[Any], file: Path) -> Batch:
    if labels.min() < 0 or labels.max() > 9:
        raise ValueError(f"CIFAR-10: {file} must have labels 0 to 9, got {labels.min()} to {labels.max()}")
    return pixels.reshape(-1, *_SHAPE), labels.astype(np.int64)


class _Unpickler(pickle.Unpickler):
    """Build arrays and nothing else: a pickle could run any code."""

    _ALLOWED = {  # noqa: RUF012
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        if module == "numpy.core.multiarray":  # where NumPy 1 had it
            module = np.empty(0).__reduce__()[0].__module__  # type: ignore[index]
        return super().find_class(module, name)
