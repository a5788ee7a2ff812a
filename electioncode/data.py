"""Draw the same batch, augmentation and dropout for a partition at every worker that holds it.

A vote over replicas needs equal gradients: everything random in a partition's gradient must depend on (seed, step,
partition) alone, never on the process, on which other partitions it holds, or on what ran before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from electioncode.codes import AllocationCode
from electioncode.core import integer

if TYPE_CHECKING:
    import torch

# The last word of the Philox counter: one stream per purpose.
_SHUFFLE, _AUGMENT, _TORCH, _LOADER = 0, 1, 2, 3
_LARGEST_KEY = 2**64 - 1


def _philox(function: str, seed: int, step: int, partition: int, purpose: int) -> np.random.Philox:
    """Return Philox4x64 with key (seed, step) and counter (0, 0, partition, purpose): streams that never overlap."""
    for name, value in (("seed", seed), ("step", step), ("partition", partition)):
        integer(function, name, value, 0, _LARGEST_KEY)
    return np.random.Philox(
        key=np.array([seed, step], dtype=np.uint64), counter=np.array([0, 0, partition, purpose], dtype=np.uint64)
    )


def _permutation(function: str, seed: int, epoch: int, num_samples: int) -> NDArray[np.int64]:
    order = np.argsort(_philox(function, seed, epoch, 0, _SHUFFLE).random_raw(num_samples), kind="stable")
    order.flags.writeable = False
    return order


class Batches:
    """The samples that each partition holds at each step.

    An epoch is one permutation of the samples, drawn from (seed, epoch) alone and cut into ``steps_per_epoch`` global
    batches; the ``num_samples % batch_size`` samples left over are skipped in that epoch. Partition j of k takes the
    samples ``int(j * B / k)`` to ``int((j + 1) * B / k) - 1`` of the global batch.

    Args:
        num_samples: at least batch_size.
        batch_size: B, the samples per step over all partitions.
        num_partitions: k, from 1 to batch_size, so that no partition is empty.
        seed: 0 to 2**64 - 1.

    Raises TypeError or ValueError where a limit does not hold. Source: Election Coding, Section 5, and the slices of
    its published code.
    """

    def __init__(self, num_samples: int, batch_size: int, num_partitions: int, *, seed: int = 0) -> None:
        self.num_samples = integer("Batches", "num_samples", num_samples, 1)
        self.batch_size = integer("Batches", "batch_size (at most num_samples)", batch_size, 1, num_samples)
        self.num_partitions = integer("Batches", "num_partitions (at most batch_size)", num_partitions, 1, batch_size)
        self.seed = integer("Batches", "seed", seed, 0, _LARGEST_KEY)
        self._epoch: tuple[int, NDArray[np.int64]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        return self.num_samples // self.batch_size

    def permutation(self, epoch: int) -> NDArray[np.int64]:
        """Return the order of the samples in an epoch, ``(num_samples,)`` int64, read-only.

        Equals ``np.argsort(np.random.Philox(key=[seed, epoch]).random_raw(num_samples), kind="stable")``: NumPy
        promises the stream of raw words, but not that of ``Generator.permutation``.
        """
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, _permutation("Batches.permutation", self.seed, epoch, self.num_samples))
        return self._epoch[1]

    def indices(self, step: int, partition: int) -> NDArray[np.int64]:
        """Return the samples of one partition at one step, ``(b,)`` int64 with b = B / k up to rounding."""
        j = integer("Batches.indices", "partition", partition, 0, self.num_partitions - 1)
        epoch, within = divmod(step, self.steps_per_epoch)
        start, end = (within * self.batch_size + i * self.batch_size // self.num_partitions for i in (j, j + 1))
        return self.permutation(epoch)[start:end]


class PartitionSampler:
    """The samples of one partition, in the same order at every rank that holds it: a DistributedSampler for codes.

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
        partition: one that the worker holds; needed where it holds several (make a sampler and a loader for each).
        shuffle: draw a new order every epoch from (seed, epoch); else samples keep their order.
        seed: 0 to 2**64 - 1, the same at all ranks.
        drop_last: leave out the last samples, fewer than k, that do not fill all partitions; else the first ones are
            repeated until they do.

    Partition j has the samples ``order[j::k]``, as DistributedSampler gives them to rank j of k: with
    ``repetition(k, k)`` the two differ in the shuffle only. The sampler needs no PyTorch.

    Attributes:
        generator: pass it to the DataLoader, so that the random transforms in its worker processes agree at all ranks
            that hold the partition and are drawn anew every epoch. (For num_workers = 0, in the process itself, use
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
        held = code.partitions(integer("PartitionSampler", "rank", rank, 0, code.num_workers - 1))
        if partition is None and len(held) == 1:
            partition = held[0]
        if partition not in held:
            raise ValueError(f"PartitionSampler: partition must be one that rank {rank} holds, {held}, got {partition}")
        k, total = code.num_partitions, len(dataset)
        fewest = k if drop_last else 1
        if total < fewest:
            raise ValueError(f"PartitionSampler: dataset must have at least {fewest} samples, got {total}")
        self.partition = int(partition)
        self.num_partitions = k
        self.num_samples = total // k if drop_last else -(-total // k)
        self.shuffle, self.seed = shuffle, integer("PartitionSampler", "seed", seed, 0, _LARGEST_KEY)
        self._total = total
        self._generator: torch.Generator | None = None
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Set the epoch of the next iteration and the sample of this partition, 0 to num_samples, that it starts from.

        To resume within an epoch, `start` is how many of its samples this partition has used: steps times batch size.
        """
        self.start = integer("PartitionSampler.set_epoch", "start", start, 0, self.num_samples)
        self.epoch = int(epoch)
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
        """Count the samples of an iteration: num_samples, less those before start."""
        return self.num_samples - self.start


def _own_rank() -> int:
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        raise ValueError("PartitionSampler: rank must be given where torch.distributed is not initialized")
    return torch.distributed.get_rank()


def augmentation_rng(seed: int, step: int, partition: int) -> np.random.Generator:
    """Return a NumPy generator for the augmentation of one partition at one step.

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
    """Seed torch's generators for the forward pass of one partition (dropout), and restore them afterwards.

    Args:
        seed, step, partition: 0 to 2**64 - 1 each.
        devices: the CUDA devices that the model uses; the CPU's generator is always seeded.

    ::

        with partition_rng(seed, step, partition):
            loss = criterion(model(x), y)
        loss.backward()

    The seeding does not outlive the block: all other draws of the process stay as they were.
    """
    import torch

    value = int(_philox("partition_rng", seed, step, partition, _TORCH).random_raw())
    with torch.random.fork_rng(devices=list(devices)):
        # Not torch.manual_seed: it would seed other devices too, which are not restored.
        torch.default_generator.manual_seed(value)
        for device in devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(value)
        yield
