"""Models by name: small ones that normalise groups of channels, and the paper's ResNet-18.

A partition's gradient must depend on the parameters and the partition alone. Batch normalisation also keeps running
statistics of what a process happened to see, which differ between replicas and do not exist at the server. The small
residual networks do without it. ResNet-18 takes its statistics from the batch of one partition, as in the paper, and
from `calibrate` for a test; its running averages play no part in training.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn
from torch.nn import functional

NAMES = ("mlp", "cnn", "resnet8", "resnet14", "resnet20", "resnet18")


def build(
    name: str, shape: tuple[int, int, int], num_classes: int, *, seed: int = 0, dropout: float = 0.1
) -> nn.Module:
    """Make a model, initialised from the seed alone.

    Args:
        name: "mlp", "cnn", "resnet<depth>" with depth = 6 m + 2 (narrow: 16, 32 and 64 channels), "resnet18", or
            "resnet18-<width>" (the channels of the first of its four stages; the paper's has 64).
        shape: (C, H, W) of an image.
        num_classes: of the output, float32 (b, num_classes).
        seed: of the initial parameters, 0 to 2**64 - 1.
        dropout: probability, before the last layers; ResNet-18 has no dropout.

    Raises ValueError for another name.
    """
    residual = re.fullmatch(r"resnet(\d+)", name)
    depth = int(residual[1]) if residual else 0
    paper = re.fullmatch(r"resnet18(?:-([1-9]\d*))?", name)
    if name not in ("mlp", "cnn") and not paper and (depth < 8 or depth % 6 != 2):
        raise ValueError(
            f"build: name must be 'mlp', 'cnn', 'resnet<6 m + 2>' like {NAMES[2:5]}, 'resnet18' or "
            f"'resnet18-<width>', got {name!r}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if name == "mlp":
            return _mlp(shape, num_classes, dropout)
        if name == "cnn":
            return _cnn(shape, num_classes, dropout)
        if paper:
            stages = [int(paper[1] or 64) << i for i in range(4)]
            return ResNet(shape[0], num_classes, [w for w in stages for _ in range(2)], batch_norm, 0.0)
        widths = [w for w in (16, 32, 64) for _ in range((depth - 2) // 6)]
        return ResNet(shape[0], num_classes, widths, group_norm, dropout)


def default_for(shape: tuple[int, int, int]) -> str:
    """Return the model that suits images of this shape: "cnn" up to 16 x 16 pixels, "resnet8" beyond."""
    return "cnn" if shape[1] * shape[2] <= 256 else "resnet8"


def _mlp(shape: tuple[int, int, int], num_classes: int, dropout: float) -> nn.Module:
    inputs = shape[0] * shape[1] * shape[2]
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, 128), nn.ReLU(), nn.Dropout(dropout), nn.Linear(128, num_classes)
    )


def _cnn(shape: tuple[int, int, int], num_classes: int, dropout: float) -> nn.Module:
    channels, height, width = shape
    inputs = 16 * ((height + 1) // 2) * ((width + 1) // 2)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1),
        nn.GELU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(inputs, 64),
        nn.GELU(),
        nn.Linear(64, num_classes),
    )


class ResNet(nn.Module):
    """He et al.'s residual network for small images: a 3 x 3 stem, and no pooling at the front.

    Args:
        channels: of the images.
        num_classes: of the output.
        widths: channels of each block.
        norm: makes the normalisation of so many channels.
        dropout: probability, before the last layer.
    """

    def __init__(
        self, channels: int, num_classes: int, widths: Sequence[int], norm: Callable[[int], nn.Module], dropout: float
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.norm = norm(widths[0])
        pairs = zip([widths[0], *widths], widths, strict=False)
        self.blocks = nn.Sequential(*(Block(before, width, norm) for before, width in pairs))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(functional.relu(self.norm(self.stem(x))))
        return self.head(self.dropout(x.mean(dim=(2, 3))))


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; halves the image where the number of channels changes."""

    def __init__(self, before: int, width: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        stride = 1 if before == width else 2
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = norm(width)
        self.shortcut: nn.Module = nn.Identity()
        if before != width:
            self.shortcut = nn.Conv2d(before, width, 1, stride=stride, bias=False)
            if norm is batch_norm:
                self.shortcut = nn.Sequential(self.shortcut, norm(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def group_norm(channels: int) -> nn.Module:
    """Return a normalisation of four groups of channels."""
    return nn.GroupNorm(4, channels)


def batch_norm(channels: int) -> nn.Module:
    """Return a batch normalisation whose statistics for tests `calibrate` sets."""
    return nn.BatchNorm2d(channels, momentum=None)


def batch_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    """Return all batch normalisations of a model."""
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


@torch.no_grad()
def calibrate(model: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Set the statistics of all batch normalisations to their means over these batches of images.

    Leaves the model in evaluation mode. The modules must have ``momentum=None``.
    """
    model.eval()
    norms = batch_norms(model)
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    for images in batches:
        model(images)
    for norm in norms:
        norm.eval()
