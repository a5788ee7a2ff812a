"""ResNet-18 for small images, as the paper trains it on CIFAR-10: 11,173,962 parameters with 10 classes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional


class ResNet18(nn.Module):
    """He et al.'s ResNet-18 with a 3 x 3 stem and without pooling at the front.

    Args:
        channels, num_classes: of images and output.
        width: channels of the first of the four stages; each stage has twice those before it. The paper's is 64.

    Batch normalisation takes its statistics from the batch of one partition, as in the paper. So a partition's
    gradient depends on the parameters and the partition alone; running averages, which differ between replicas
    and do not exist at a server, take no part in training, and `calibrate` sets them for a test.
    """

    def __init__(self, channels: int, num_classes: int, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width, momentum=None)
        blocks: list[nn.Module] = []
        before = width
        for stage in range(4):
            after = width << stage
            blocks += [Block(before, after, 1 if stage == 0 else 2), Block(after, after, 1)]
            before = after
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(before, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(functional.relu(self.norm(self.stem(x))))
        return self.head(x.mean(dim=(2, 3)))


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, which is a 1 x 1 convolution where the shape changes."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after, momentum=None)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after, momentum=None)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after, momentum=None)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def batch_norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


@torch.no_grad()
def calibrate(model: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Sets the statistics of all batch normalisations to their means over these batches of images.

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
