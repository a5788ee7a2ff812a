"""Partitions that keep their samples: what the authors' logistic regression does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from electioncode.data import Batches

KINDS = ("drawn", "fixed")


class FixedPartitions(Batches):
    """Partition j of k holds the same samples in every epoch, and goes through them in order.

    Arguments and limits as for :class:`electioncode.data.Batches`, which draws every epoch's partitions anew. All
    partitions take the same number of steps an epoch; the samples of a step are b = batch_size / k up to rounding.
    Nothing is random: the seed counts for augmentation alone.
    """

    def indices(self, step: int, partition: int) -> NDArray[np.int64]:
        """``(b,)`` int64: the samples of one partition at one step."""
        if not 0 <= partition < self.num_partitions:
            last = self.num_partitions - 1
            raise ValueError(f"FixedPartitions.indices: partition must be from 0 to {last}, got {partition}")
        steps, k = self.steps_per_epoch, self.num_partitions
        # In units of 1 / (k * steps) of all samples, so that nothing is rounded twice.
        first = partition * steps + step % steps
        used = steps * self.batch_size  # what is left over sits out, as in `Batches`
        return np.arange(first * used // (k * steps), (first + 1) * used // (k * steps))


def make(kind: str, num_samples: int, batch_size: int, num_partitions: int, seed: int) -> Batches:
    """ "drawn" anew every epoch (`Batches`), or "fixed" for the whole run."""
    if kind not in KINDS:
        raise ValueError(f"Settings: partitions must be one of {KINDS}, got {kind!r}")
    return (FixedPartitions if kind == "fixed" else Batches)(num_samples, batch_size, num_partitions, seed=seed)
