"""Images to train on: scikit-learn's handwritten digits, CIFAR-10, or a folder of images."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from electioncode.data import augmentation_rng, partition_rng
from electioncode.lab.training import cifar, models

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm")

# Number of images whose statistics batch normalisation uses in a test.
_CALIBRATION = 2000


class Images(Protocol):
    """N images of one shape (C, H, W), uint8."""

    shape: tuple[int, int, int]

    def __len__(self) -> int: ...
    def take(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]: ...


class ArrayImages:
    """Images in memory: uint8 (N, C, H, W)."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.images = images
        self.shape = images.shape[1:]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.images[indices]


class FileImages:
    """Images on disk, decoded when first taken and then kept: a worker reads only what its partitions hold."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        first = _read_image(files[0])
        self.shape = first.shape
        self._images = np.empty((len(files), *first.shape), dtype=np.uint8)
        self._read = np.zeros(len(files), dtype=bool)

    def __len__(self) -> int:
        return len(self.files)

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        for i in indices[~self._read[indices]]:
            image = _read_image(self.files[i])
            if image.shape != self.shape:
                raise ValueError(
                    f"image folder: every image must have shape {self.shape} like the first, "
                    f"got {image.shape} in {self.files[i]}"
                )
            self._images[i] = image
            self._read[i] = True
        return self._images[indices]


@dataclass
class Dataset:
    """A classification task on small images: a `runner.Task` that trains a model by name and tests its accuracy.

    Attributes:
        name: for tables and file names.
        train: uint8 images (C, H, W).
        train_labels: int64, 0 to num_classes - 1.
        test: as train.
        test_labels: as train_labels.
        num_classes: number of classes.
        scale: a pixel becomes (pixel / scale - mean) / std.
        mean: (C,).
        std: (C,).
        shift: augmentation moves an image by up to this many pixels each way and fills in black.
        flip: augmentation mirrors half of the images left to right.
    """

    metric = "test accuracy"

    name: str
    train: Images
    train_labels: NDArray[np.int64]
    test: Images
    test_labels: NDArray[np.int64]
    num_classes: int
    scale: float
    mean: Sequence[float]
    std: Sequence[float]
    shift: int
    flip: bool

    def __len__(self) -> int:
        """Return the number of training images."""
        return len(self.train)

    def build_model(self, settings: Any) -> nn.Module:
        """Make the model of the settings, see `models.build`."""
        return models.build(
            settings.model, self.train.shape, self.num_classes, seed=settings.seed, dropout=settings.dropout
        )

    def backward(self, model: nn.Module, indices: NDArray[np.int64], seed: int, step: int, partition: int) -> None:
        """Leave the gradient of a partition at a step in ``.grad``: the same bits wherever it is computed."""
        device = next(model.parameters()).device
        images, labels = self.train_batch(indices, augmentation_rng(seed, step, partition))
        model.train()
        model.zero_grad()
        with partition_rng(seed, step, partition, devices=[device] if device.type == "cuda" else []):
            loss = functional.cross_entropy(model(images.to(device)), labels.to(device))
        loss.backward()

    @torch.no_grad()
    def evaluate(self, model: nn.Module, batch_size: int = 500) -> float:
        """Return the share of test images that the model gets right, 0 to 1."""
        device = next(model.parameters()).device
        model.eval()
        if models.batch_norms(model):
            some = _some(len(self.train), min(_CALIBRATION, len(self.train)), "evaluate")
            parts = [some[i : i + batch_size] for i in range(0, len(some), batch_size)]
            models.calibrate(model, (self.train_batch(part, augmentation_rng(0, 0, 0))[0].to(device) for part in parts))
        right = 0
        for start in range(0, len(self.test), batch_size):
            images, labels = self.test_batch(start, start + batch_size)
            right += int((model(images.to(device)).argmax(dim=1).cpu() == labels).sum())
        return right / len(self.test)

    def train_batch(self, indices: NDArray[np.int64], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return augmented images, float32 (b, C, H, W), and labels, int64 (b,); all randomness comes from rng."""
        images = augment(self.train.take(indices), self.shift, self.flip, rng)
        return self.normalise(images), torch.from_numpy(self.train_labels[indices])

    def test_batch(self, start: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return test images ``start`` to ``end - 1``, not augmented, and their labels."""
        images = self.test.take(np.arange(start, min(end, len(self.test))))
        return self.normalise(images), torch.from_numpy(self.test_labels[start:end])

    def normalise(self, images: NDArray[np.uint8]) -> torch.Tensor:
        x = images.astype(np.float32) / np.float32(self.scale)
        x -= np.asarray(self.mean, dtype=np.float32)[:, None, None]
        x /= np.asarray(self.std, dtype=np.float32)[:, None, None]
        return torch.from_numpy(x)


def augment(images: NDArray[np.uint8], shift: int, flip: bool, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Move (and mirror) every image at random: (b, C, H, W) to the same shape.

    ``shift=4, flip=True`` is the paper's: a crop of 32 pixels with a padding of 4, and a horizontal flip.
    """
    count, _, height, width = images.shape
    if shift:
        margin = ((0, 0), (0, 0), (shift, shift), (shift, shift))
        padded = np.pad(images, margin)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
        rows, columns = rng.integers(0, 2 * shift + 1, (2, count))
        images = windows[np.arange(count), :, rows, columns]
    if flip:
        mirrored = rng.integers(0, 2, count).astype(bool)
        images = np.where(mirrored[:, None, None, None], images[..., ::-1], images)
    return images


def digits(train_samples: int | None = None, test_samples: int | None = None) -> Dataset:
    """Load scikit-learn's 1,797 handwritten digits, 8x8 pixels of 0 to 16: 1,437 to train on, 360 to test.

    The split is one fixed permutation, so that every seed is tested on the same images.
    """
    pixels, targets = read_digits()
    order = np.argsort(np.random.Philox(key=0).random_raw(len(targets)), kind="stable")
    images = pixels[order, None]
    labels = targets[order]
    train, test = slice(0, 1437), slice(1437, None)
    keep = _some(1437, train_samples, "digits: train_samples")
    keep_test = _some(360, test_samples, "digits: test_samples")
    return Dataset(
        name="digits",
        train=ArrayImages(images[train][keep]),
        train_labels=labels[train][keep],
        test=ArrayImages(images[test][keep_test]),
        test_labels=labels[test][keep_test],
        num_classes=10,
        scale=16.0,
        mean=(0.305,),
        std=(0.376,),
        shift=1,
        flip=False,
    )


def read_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return scikit-learn's digits: uint8 (1797, 8, 8) and int64 (1797,).

    Equals ``load_digits().images.astype(np.uint8), load_digits().target``, but reads scikit-learn's own file if it is
    there: importing scikit-learn would cost each of many processes most of a second.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
    for folder in spec.submodule_search_locations or ():
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            table = np.loadtxt(file, delimiter=",", dtype=np.int64)
            return table[:, :-1].reshape(-1, 8, 8).astype(np.uint8), table[:, -1].copy()
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    bunch = load_digits()
    return bunch.images.astype(np.uint8), bunch.target.astype(np.int64)


def image_folder(path: str | Path, train_samples: int | None = None, test_samples: int | None = None) -> Dataset:
    """Load a folder with ``train/<class>/*`` and ``test/<class>/*``, images of one size.

    Args:
        path: the folder that holds ``train`` and ``test``. Classes are numbered in the order of their names.
        train_samples: use this many images, drawn from all classes by one fixed permutation.
        test_samples: the same for the test.

    Images are read as RGB and normalised with CIFAR-10's mean and deviation; augmentation is the paper's (padding of
    an eighth of the width, and horizontal flip). Raises ValueError, which names the folder, for any other layout.
    """
    root = Path(path)
    for part in ("train", "test"):
        if not (root / part).is_dir():
            raise ValueError(f"image folder: {root} must hold train/<class>/* and test/<class>/*, has no {part}")
    classes = sorted(p.name for p in (root / "train").iterdir() if p.is_dir())
    unknown = {p.name for p in (root / "test").iterdir() if p.is_dir()} - set(classes)
    if len(classes) < 2 or unknown:
        raise ValueError(
            f"image folder: {root}/train must have at least 2 class folders and all those of test, "
            f"got {len(classes)}, without {sorted(unknown)}"
        )
    train_files, train_labels = _list_files(root / "train", classes)
    test_files, test_labels = _list_files(root / "test", classes)
    keep = _some(len(train_files), train_samples, "image folder: train_samples")
    keep_test = _some(len(test_files), test_samples, "image folder: test_samples")
    train = FileImages([train_files[i] for i in keep])
    test = FileImages([test_files[i] for i in keep_test])
    name = root.resolve().name
    return _cifar_like(name, train, train_labels[keep], test, test_labels[keep_test], len(classes))


def batches(path: str | Path, train_samples: int | None = None, test_samples: int | None = None) -> Dataset:
    """Load CIFAR-10 as its authors publish it: a folder of pickled or binary batches, see `cifar.read`.

    Args:
        path: the folder that holds the batches, or one that holds the folder from the archive.
        train_samples: use this many images, drawn from all classes by one fixed permutation.
        test_samples: the same for the test.
    """
    images, labels, test_images, test_labels = cifar.read(path)
    keep = _some(len(images), train_samples, "CIFAR-10: train_samples")
    keep_test = _some(len(test_images), test_samples, "CIFAR-10: test_samples")
    train, test = ArrayImages(images[keep]), ArrayImages(test_images[keep_test])
    return _cifar_like("cifar10", train, labels[keep], test, test_labels[keep_test], 10)


def _cifar_like(
    name: str,
    train: Images,
    train_labels: NDArray[np.int64],
    test: Images,
    test_labels: NDArray[np.int64],
    num_classes: int,
) -> Dataset:
    """Make a dataset with the paper's normalisation and augmentation."""
    return Dataset(
        name=name,
        train=train,
        train_labels=train_labels,
        test=test,
        test_labels=test_labels,
        num_classes=num_classes,
        scale=255.0,
        mean=cifar.MEAN,
        std=cifar.STD,
        shift=train.shape[2] // 8,
        flip=True,
    )


def load(data: str | Path, train_samples: int | None = None, test_samples: int | None = None) -> Dataset:
    """Load ``"digits"``, or CIFAR-10's batches or an image folder from their path."""
    if data == "digits":
        return digits(train_samples, test_samples)
    make = batches if cifar.find(data) else image_folder
    return make(data, train_samples, test_samples)


def halved(data: Dataset) -> Dataset:
    """Return the same images with every 2 x 2 pixels averaged, all in memory: a quarter of the work."""

    def shrink(images: Images) -> ArrayImages:
        x = images.take(np.arange(len(images)))
        n, c, h, w = x.shape
        blocks = x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(n, c, h // 2, 2, w // 2, 2)
        return ArrayImages((blocks.sum(axis=(3, 5), dtype=np.uint16) // 4).astype(np.uint8))

    train, test = shrink(data.train), shrink(data.test)
    return replace(data, name=f"{data.name}, halved", train=train, test=test, shift=train.shape[2] // 8)


def _some(total: int, wanted: int | None, argument: str) -> NDArray[np.int64]:
    """Draw the indices of ``wanted`` of ``total`` samples; None: all, in order."""
    if wanted is None:
        return np.arange(total)
    if not 1 <= wanted <= total:
        raise ValueError(f"{argument} must be from 1 to {total}, got {wanted}")
    return np.argsort(np.random.Philox(key=1).random_raw(total), kind="stable")[:wanted]


def _list_files(folder: Path, classes: Sequence[str]) -> tuple[list[Path], NDArray[np.int64]]:
    files, labels = [], []
    for label, name in enumerate(classes):
        found = sorted(p for p in (folder / name).glob("*") if p.suffix.lower() in _SUFFIXES)
        files += found
        labels += [label] * len(found)
    if not files:
        raise ValueError(f"image folder: {folder}/<class> must hold images ({', '.join(_SUFFIXES)}), has none")
    return files, np.array(labels, dtype=np.int64)


def _read_image(file: Path) -> NDArray[np.uint8]:
    from PIL import Image

    with Image.open(file) as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))
