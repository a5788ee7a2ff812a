"""Partitions that keep their samples, as in the authors' logistic regression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from electioncode.data import Batches

KINDS = ("drawn", "fixed")


class FixedPartitions(Batches):
    """Keep the same samples in partition j of k in every epoch, and go through them in order.

    Takes the arguments of :class:`electioncode.data.Batches`, which draws every epoch's partitions anew. All partitions
    take the same number of steps per epoch; a step takes b = batch_size / k samples up to rounding. Nothing is random:
    the seed matters for augmentation alone.
    """

    def indices(self, step: int, partition: int) -> NDArray[np.int64]:
        """Return the samples of one partition at one step, ``(b,)`` int64."""
        if not 0 <= partition < self.num_partitions:
            last = self.num_partitions - 1
            raise ValueError(f"FixedPartitions.indices: partition must be from 0 to {last}, got {partition}")
        steps, k = self.steps_per_epoch, self.num_partitions
        # In units of 1 / (k * steps) of all samples, so that nothing is rounded twice.
        first = partition * steps + step % steps
        used = steps * self.batch_size  # the rest is left out, as in `Batches`
        return np.arange(first * used // (k * steps), (first + 1) * used // (k * steps))


def make(kind: str, num_samples: int, batch_size: int, num_partitions: int, seed: int) -> Batches:
    """Return batches whose partitions are "drawn" anew every epoch, or "fixed" for the whole run."""
    if kind not in KINDS:
        raise ValueError(f"Settings: partitions must be one of {KINDS}, got {kind!r}")
    return (FixedPartitions if kind == "fixed" else Batches)(num_samples, batch_size, num_partitions, seed=seed)
