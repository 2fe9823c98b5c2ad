"""The blocks that a task's independent groups of pairs or queries are put into once and for all.

A difference is tested on the sums over blocks of groups: with up to `BLOCKS` groups each is a block of its own, and with
more the sums are fewer to keep, and no less independent of each other. Which block a group belongs to follows from its
number alone, so that two runs on the same data have the same blocks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCKS", "block_means"]

BLOCKS = 128
Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


def block_means(values: Floats, groups: Ids) -> Floats:
    """Return K = min(G, `BLOCKS`) values whose mean is that of values (n,), independent where the groups (n,) are."""
    n = len(values)
    count = int(groups.max()) + 1
    blocks = min(count, BLOCKS)
    block = _shuffled(count) % blocks if count > blocks else np.arange(count)
    sums = np.bincount(block[groups], weights=values, minlength=blocks).astype(np.float64)
    return np.asarray(sums * (blocks / n))


def _shuffled(count: int) -> Ids:
    """Return a permutation of 0 ... count - 1 that no library's version changes: the ranks of SplitMix64's outputs."""
    with np.errstate(over="ignore"):
        z = (np.arange(1, count + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    rank = np.empty(count, np.int64)
    rank[np.argsort(z, kind="stable")] = np.arange(count)
    return rank
