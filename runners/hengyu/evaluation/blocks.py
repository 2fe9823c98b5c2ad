"""Independent groups of pairs or queries, and the blocks that a task's groups are put into once and for all.

A difference is tested on the sums over blocks of groups: with up to `BLOCKS` groups each is a block of its own, and with
more the sums are fewer to keep, and no less independent of each other. Which block a group belongs to follows from its
number alone, so that two runs on the same data have the same blocks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCKS", "block_means", "pair_groups"]

BLOCKS = 128
_CHAIN = 0.1  # share of the pairs above which a chain of shared sentences is cut
_FEWEST = 100  # first sentences that such a chain must have
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


def pair_groups(first: Ids, second: Ids) -> Ids:
    """Return the group (n,) of each pair, numbered from 0: pairs that share a sentence belong together.

    first and second (n,) number the sentences. In large sets a chain of shared sentences can link most pairs that have
    nothing else in common; a chain that holds more than a tenth of the pairs, and at least a hundred first sentences, is
    cut into the pairs of each first sentence.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(first)
    size = int(max(first.max(initial=0), second.max(initial=0))) + 1
    graph = coo_array((np.ones(n, np.int8), (first, second)), shape=(size, size))
    part = connected_components(graph, directed=False)[1].astype(np.int64)[first]
    pairs = np.bincount(part)
    heads = np.bincount(part[np.unique(first, return_index=True)[1]], minlength=len(pairs))
    chain = (pairs > _CHAIN * n) & (heads >= _FEWEST)
    return np.unique(np.where(chain[part], size + first, part), return_inverse=True)[1].astype(np.int64)
