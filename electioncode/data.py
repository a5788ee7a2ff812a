"""The same batch, augmentation and dropout of a partition at every worker that holds it.

A vote over replicas is a vote over equal gradients: all that is random in a partition's gradient must depend
on (seed, step, partition) alone, never on the process, on which other partitions it holds, or on what ran
before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

# The last word of the Philox counter: one purpose, one stream.
_SHUFFLE, _AUGMENT, _TORCH = 0, 1, 2


def _philox(function: str, seed: int, step: int, partition: int, purpose: int) -> np.random.Philox:
    """Philox4x64, key (seed, step), counter (0, 0, partition, purpose): streams that never overlap."""
    for name, value in (("seed", seed), ("step", step), ("partition", partition)):
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
            raise TypeError(f"{function}: {name} must be an integer, got {type(value).__name__}")
        if not 0 <= value < 2**64:
            raise ValueError(f"{function}: {name} must be from 0 to 2**64 - 1, got {value}")
    return np.random.Philox(
        key=np.array([seed, step], dtype=np.uint64),
        counter=np.array([0, 0, partition, purpose], dtype=np.uint64),
    )


class Batches:
    """Which samples a partition holds at a step.

    An epoch is one permutation of the samples, drawn from (seed, epoch) alone and cut into
    ``steps_per_epoch`` global batches; the ``num_samples % batch_size`` samples left over sit out that epoch.
    Partition j of k takes the samples ``int(j * B / k)`` to ``int((j + 1) * B / k) - 1`` of the global batch.

    Args:
        num_samples: at least batch_size.
        batch_size: B, the global batch of a step, over all partitions.
        num_partitions: k, from 1 to batch_size, so that no partition is empty.
        seed: 0 to 2**64 - 1.

    Raises ValueError where a limit does not hold. Source: Election Coding, Section 5, and the slices of its
    published code.
    """

    def __init__(self, num_samples: int, batch_size: int, num_partitions: int, *, seed: int = 0) -> None:
        if not 1 <= batch_size <= num_samples:
            raise ValueError(f"Batches: batch_size must be from 1 to num_samples = {num_samples}, got {batch_size}")
        if not 1 <= num_partitions <= batch_size:
            raise ValueError(
                f"Batches: num_partitions must be from 1 to batch_size = {batch_size}, got {num_partitions}"
            )
        _philox("Batches", seed, 0, 0, _SHUFFLE)
        self.num_samples = int(num_samples)
        self.batch_size = int(batch_size)
        self.num_partitions = int(num_partitions)
        self.seed = int(seed)
        self._epoch: tuple[int, NDArray[np.int64]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        return self.num_samples // self.batch_size

    def permutation(self, epoch: int) -> NDArray[np.int64]:
        """``(num_samples,)`` int64, read-only: the order of the samples in an epoch.

        Equals ``np.argsort(np.random.Philox(key=[seed, epoch]).random_raw(num_samples), kind="stable")``; raw
        words, because NumPy promises their stream and not that of ``Generator.permutation``.
        """
        if self._epoch is None or self._epoch[0] != epoch:
            words = _philox("Batches.permutation", self.seed, epoch, 0, _SHUFFLE).random_raw(self.num_samples)
            order = np.argsort(words, kind="stable")
            order.flags.writeable = False
            self._epoch = (epoch, order)
        return self._epoch[1]

    def indices(self, step: int, partition: int) -> NDArray[np.int64]:
        """``(b,)`` int64: the samples of one partition at one step, b = B / k up to rounding."""
        if not 0 <= partition < self.num_partitions:
            raise ValueError(f"Batches.indices: partition must be from 0 to {self.num_partitions - 1}, got {partition}")
        epoch, within = divmod(step, self.steps_per_epoch)
        start = within * self.batch_size + partition * self.batch_size // self.num_partitions
        end = within * self.batch_size + (partition + 1) * self.batch_size // self.num_partitions
        return self.permutation(epoch)[start:end]


def augmentation_rng(seed: int, step: int, partition: int) -> np.random.Generator:
    """A NumPy generator for the augmentation of one partition at one step.

    Args:
        seed, step, partition: 0 to 2**64 - 1 each; different arguments give streams that never overlap.

    Equals ``np.random.Generator(np.random.Philox(key=[seed, step], counter=[0, 0, partition, 1]))``. What a
    distribution draws from it may change between NumPy versions, so replicas should run the same one.
    """
    return np.random.Generator(_philox("augmentation_rng", seed, step, partition, _AUGMENT))


@contextmanager
def partition_rng(
    seed: int, step: int, partition: int, *, devices: Sequence[torch.device | int] = ()
) -> Iterator[None]:
    """Seeds torch's generators for the forward pass of one partition (dropout), and restores them afterwards.

    Args:
        seed, step, partition: 0 to 2**64 - 1 each.
        devices: the CUDA devices that the model uses; the CPU's generator is always seeded.

    ::

        with partition_rng(seed, step, partition):
            loss = criterion(model(x), y)
        loss.backward()

    Nothing of the seeding outlives the block: other draws of the process stay as they were.
    """
    import torch

    value = int(_philox("partition_rng", seed, step, partition, _TORCH).random_raw())
    with torch.random.fork_rng(devices=list(devices)):
        # Not torch.manual_seed, which would seed devices that are not ours and are not restored.
        torch.default_generator.manual_seed(value)
        for device in devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(value)
        yield
