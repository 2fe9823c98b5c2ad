"""rrf(a, b, k, depth): lists joined by the reciprocals of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Fusion, Ids
from hengyu.methods.search.fused import best_sums

__all__ = ["METHOD", "Rrf"]


@dataclass
class Rrf(Fusion):
    """Joins the first ``depth`` results of two entries: a text's score is the sum of ``1 / (k + rank)`` over the lists.

    A text that a list does not have gets nothing of it. Cormack, Clarke, Büttcher, Reciprocal rank fusion outperforms Condorcet
    and individual rank learning methods, SIGIR 2009, with their k = 60 and lists of 1000.
    """

    k: int = 60
    depth: int = 1000

    def __post_init__(self) -> None:
        if not 0 <= self.k <= 1_000_000:
            raise ValueError(f"rrf(k={self.k}) must lie in 0..1000000")
        if not 1 <= self.depth <= 1_000_000:
            raise ValueError(f"rrf(depth={self.depth}) must lie in 1..1000000")

    def fuse(self, lists: Sequence[tuple[Ids, NDArray[np.float32]]], k: int) -> tuple[Ids, NDArray[np.float32]]:
        """Return the k rows (Q, k) with the highest sums of reciprocal ranks, ties by number."""
        valued = [(ids, np.broadcast_to(1 / (self.k + 1.0 + np.arange(ids.shape[1])), ids.shape)) for ids, _ in lists]
        return best_sums(valued, [np.zeros(len(ids)) for ids, _ in lists], k)


METHOD = Rrf
