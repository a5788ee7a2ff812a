"""The same batch, augmentation and dropout of a partition at every worker that holds it.

A vote over replicas is a vote over equal gradients: all that is random in a partition's gradient must depend
on (seed, step, partition) alone, never on the process, on which other partitions it holds, or on what ran
before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from electioncode.codes import AllocationCode

# The last word of the Philox counter: one purpose, one stream.
_SHUFFLE, _AUGMENT, _TORCH, _LOADER = 0, 1, 2, 3


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


def _permutation(function: str, seed: int, epoch: int, num_samples: int) -> NDArray[np.int64]:
    order = np.argsort(_philox(function, seed, epoch, 0, _SHUFFLE).random_raw(num_samples), kind="stable")
    order.flags.writeable = False
    return order


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
            self._epoch = (epoch, _permutation("Batches.permutation", self.seed, epoch, self.num_samples))
        return self._epoch[1]

    def indices(self, step: int, partition: int) -> NDArray[np.int64]:
        """``(b,)`` int64: the samples of one partition at one step, b = B / k up to rounding."""
        if not 0 <= partition < self.num_partitions:
            raise ValueError(f"Batches.indices: partition must be from 0 to {self.num_partitions - 1}, got {partition}")
        epoch, within = divmod(step, self.steps_per_epoch)
        start = within * self.batch_size + partition * self.batch_size // self.num_partitions
        end = within * self.batch_size + (partition + 1) * self.batch_size // self.num_partitions
        return self.permutation(epoch)[start:end]


class PartitionSampler:
    """The samples of one partition, in the same order at every rank that holds it: a `DistributedSampler` for codes.

    ::

        sampler = PartitionSampler(dataset, code)                       # rank: that of this process
        loader = DataLoader(dataset, batch_size, sampler=sampler, generator=sampler.generator)
        for epoch in range(first_epoch, epochs):
            sampler.set_epoch(epoch)                                    # set_epoch(epoch, start=seen) to resume in it
            for x, y in loader: ...

    Args:
        dataset: anything with a length.
        code: AllocationCode of n workers and k partitions.
        rank: the worker, 0 to n - 1; None: the rank of this process in torch.distributed.
        partition: one that the worker holds; needed where it holds several (make a sampler and a loader of each).
        shuffle: draws a new order every epoch from (seed, epoch); else samples keep their order.
        seed: 0 to 2**64 - 1, the same at all ranks.
        drop_last: leaves out the samples that do not fill all partitions, fewer than k; else the first ones are
            repeated until they do.

    Partition j has the samples ``order[j::k]``, as DistributedSampler gives them to rank j of k: with
    ``repetition(k, k)`` the two differ in the shuffle only. The sampler needs no PyTorch.

    Attributes:
        generator: give it to the DataLoader, so that the random transforms of its worker processes agree at all ranks
            that hold the partition, and are drawn anew every epoch. (In the process itself, for num_workers = 0, use
            :func:`augmentation_rng` or :func:`partition_rng`.)

    Raises ValueError for a rank or partition that is not the code's, and where rank is None outside torch.distributed.
    """

    def __init__(
        self,
        dataset: Sized,
        code: AllocationCode,
        rank: int | None = None,
        partition: int | None = None,
        *,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        rank = _own_rank() if rank is None else rank
        if not 0 <= rank < code.num_workers:
            raise ValueError(f"PartitionSampler: rank must be from 0 to {code.num_workers - 1}, got {rank}")
        held = code.partitions(rank)
        if partition is None and len(held) == 1:
            partition = held[0]
        if partition not in held:
            raise ValueError(f"PartitionSampler: partition must be one that rank {rank} holds, {held}, got {partition}")
        k, total = code.num_partitions, len(dataset)
        if total < 1 or (drop_last and total < k):
            raise ValueError(
                f"PartitionSampler: dataset must have at least {k if drop_last else 1} samples, got {total}"
            )
        _philox("PartitionSampler", seed, 0, 0, _SHUFFLE)
        self.partition = int(partition)
        self.num_partitions = k
        self.num_samples = total // k if drop_last else -(-total // k)
        self.shuffle, self.seed = shuffle, int(seed)
        self._total = total
        self._generator: torch.Generator | None = None
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """The epoch that the next iteration goes through, from its sample `start` (of this partition) on.

        `start` is how many samples of the epoch this partition has used already: steps times batch size.
        """
        if not 0 <= start <= self.num_samples:
            raise ValueError(
                f"PartitionSampler.set_epoch: start must be from 0 to {self.num_samples} samples, got {start}"
            )
        self.epoch, self.start = int(epoch), int(start)
        if self._generator is not None:
            self._generator.manual_seed(self._loader_seed())

    @property
    def generator(self) -> torch.Generator:
        if self._generator is None:
            import torch

            self._generator = torch.Generator()
            self._generator.manual_seed(self._loader_seed())
        return self._generator

    def _loader_seed(self) -> int:
        return int(_philox("PartitionSampler", self.seed, self.epoch, self.partition, _LOADER).random_raw())

    def __iter__(self) -> Iterator[int]:
        if self.shuffle:
            order = _permutation("PartitionSampler", self.seed, self.epoch, self._total)
        else:
            order = np.arange(self._total)
        mine = np.resize(order, self.num_samples * self.num_partitions)[self.partition :: self.num_partitions]
        return iter(mine[self.start :].tolist())

    def __len__(self) -> int:
        """Samples of an iteration: num_samples, less those before start."""
        return self.num_samples - self.start


def _own_rank() -> int:
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        raise ValueError("PartitionSampler: rank must be given where torch.distributed is not initialized")
    return torch.distributed.get_rank()


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
