"""Find the least margin of a code by trying every sign vector of a layer, 64 per word, on the packed kernels.

Coordinate c of the packed votes is one sign vector: the first `_LOW` partitions run through all patterns with a given
number of pluses, the others are constant over a block. A block's votes fit in the second-level cache.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from electioncode.codes import AllocationCode
from electioncode.core import full_mask, words_for
from electioncode.robustness.simulation import pack_bits
from electioncode.votes import PackedSigns, Tally, local_majorities

_LOW = 20
TIE_POLICY = {-1: "minus", 0: "abstain", 1: "plus"}


@lru_cache(maxsize=64)
def patterns(bits: int, pluses: int) -> NDArray[np.uint32]:
    """Return all ``bits``-bit numbers with ``pluses`` ones, ascending, uint32."""
    ones = np.zeros(1, dtype=np.uint8)
    for _ in range(bits):
        ones = np.concatenate([ones, ones + 1], dtype=np.uint8)
    return np.flatnonzero(ones == pluses).astype(np.uint32)


def layer_blocks(k: int, pluses: int) -> Iterator[tuple[PackedSigns, NDArray[np.uint32], int]]:
    """Yield every sign vector of k partitions with ``pluses`` entries +1, once, in blocks.

    A block is (votes, low, high) with votes ``(k, d)``: partition j is +1 at coordinate c where bit j of
    ``high << min(k, 20) | low[c]`` is 1. The next block overwrites the votes.
    """
    low_bits = min(k, _LOW)
    high_bits = k - low_bits
    for low_pluses in range(max(0, pluses - high_bits), min(low_bits, pluses) + 1):
        low = patterns(low_bits, low_pluses)
        words = np.zeros((k, words_for(len(low))), dtype=np.uint64)
        words[:low_bits] = pack_bits(low >> np.arange(low_bits, dtype=np.uint32)[:, None] & 1)
        ones = full_mask(len(low))
        for chosen in itertools.combinations(range(high_bits), pluses - low_pluses):
            words[low_bits:] = 0
            for j in chosen:
                words[low_bits + j] = ones
            yield PackedSigns(words, len(low)), low, sum(1 << j for j in chosen)


def least_margin(allocation: NDArray[Any], pluses: int, tie: int) -> tuple[int, NDArray[np.int8]]:
    """Return the least sum of the honest votes over the sign vectors with ``pluses`` entries +1, and such signs (k,).

    Args:
        allocation: ``(n, k)`` uint8 without empty rows.
        pluses: 0..k.
        tie: what a locally tied worker counts as: -1, 0 or 1.
    """
    k = allocation.shape[1]
    rows, weights = np.unique(allocation, axis=0, return_counts=True)
    unique = AllocationCode(rows)
    tallies: dict[int, Tally] = {}
    messages: dict[int, PackedSigns] = {}
    best, where = None, (0, 0)
    for votes, low, high in layer_blocks(k, pluses):
        tally = tallies.setdefault(votes.d, Tally(votes.d, int(weights.sum())))
        tally.reset()
        sent = local_majorities(votes, unique, TIE_POLICY[tie], out=messages.get(votes.d))
        messages[votes.d] = sent
        for i, weight in enumerate(weights):
            tally.add(sent[i], int(weight))
        margin = tally.margin()
        at = int(margin.argmin())
        if best is None or margin[at] < best:
            best, where = int(margin[at]), (int(low[at]), high)
    assert best is not None
    pattern = where[1] << min(k, _LOW) | where[0]
    return best, np.array([1 if pattern >> j & 1 else -1 for j in range(k)], dtype=np.int8)
