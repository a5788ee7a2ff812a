"""Models by name: small ones that normalise groups of channels, and the paper's ResNet-18.

A partition's gradient must depend on the parameters and the partition alone. Batch normalisation also keeps
running statistics of what a process happened to see, which differ between replicas and do not exist at the
server; the small residual networks do without it, and `electioncode.experiments.resnet` says how ResNet-18
gets along with it.
"""

from __future__ import annotations

import re

import torch
from torch import nn
from torch.nn import functional

from electioncode.lab.training.resnet import ResNet18

NAMES = ("mlp", "cnn", "resnet8", "resnet14", "resnet20", "resnet18")


def build(
    name: str, shape: tuple[int, int, int], num_classes: int, *, seed: int = 0, dropout: float = 0.1
) -> nn.Module:
    """A model, initialised from the seed alone.

    Args:
        name: "mlp", "cnn", "resnet<depth>" with depth = 6 m + 2 (narrow: 16, 32 and 64 channels), "resnet18", or
            "resnet18-<width>" (64 is the paper's).
        shape: (C, H, W) of an image.
        num_classes: of the output, float32 (b, num_classes).
        seed: of the initial parameters, 0 to 2**64 - 1.
        dropout: probability, before the last layers; ResNet-18 has none.

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
            return ResNet18(shape[0], num_classes, int(paper[1] or 64))
        return ResNet(shape[0], num_classes, (depth - 2) // 6, dropout)


def default_for(shape: tuple[int, int, int]) -> str:
    """The model that suits images of this shape: "cnn" up to 16 x 16 pixels, "resnet8" beyond."""
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
    """He et al.'s residual network for small images, with group normalisation.

    6 m + 2 layers with m = ``blocks``; 16, 32 and 64 channels.
    """

    def __init__(self, channels: int, num_classes: int, blocks: int, dropout: float) -> None:
        super().__init__()
        widths = [16] * blocks + [32] * blocks + [64] * blocks
        self.stem = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(4, 16)
        self.blocks = nn.Sequential(
            *(Block(before, width) for before, width in zip([16, *widths], widths, strict=False))
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(64, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(functional.relu(self.norm(self.stem(x))))
        return self.head(self.dropout(x.mean(dim=(2, 3))))


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; halves the image where the channels double."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        stride = 1 if before == width else 2
        self.conv1 = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(4, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(4, width)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(before, width, 1, stride=stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))
