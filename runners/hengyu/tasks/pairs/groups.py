"""Independent groups of pairs: those that share no sentence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["pair_groups"]

_CHAIN = 0.1  # share of the pairs above which a chain of shared sentences is cut
_FEWEST = 100  # first sentences that such a chain must have
Ids = NDArray[np.int64]


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
