"""zsum(a, b, weight, depth): lists joined by a weighted sum of their standardised scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Fusion, Ids
from hengyu.methods.search.fused import best_sums

__all__ = ["METHOD", "Zsum"]


@dataclass
class Zsum(Fusion):
    """Joins the first ``depth`` results of two entries by ``weight z(a) + (1 - weight) z(b)``.

    z is the score of a text, less the mean of the list, over its standard deviation; a text that a list does not have gets the
    list's lowest. With a ``depth`` of at least the corpus, z-scores are over all texts that an entry finds. Bruch, Gai, Ingber, An
    analysis of fusion functions for hybrid retrieval, ACM TOIS 2023.
    """

    weight: float = 0.5
    depth: int = 1000

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"zsum(weight={self.weight}) must lie in 0..1")
        if not 1 <= self.depth <= 1_000_000:
            raise ValueError(f"zsum(depth={self.depth}) must lie in 1..1000000")

    def fuse(self, lists: Sequence[tuple[Ids, NDArray[np.float32]]], k: int) -> tuple[Ids, NDArray[np.float32]]:
        """Return the k rows (Q, k) with the highest sums of standardised scores, ties by number."""
        valued, missing = [], []
        for (ids, scores), share in zip(lists, (self.weight, 1 - self.weight), strict=True):
            z = share * _standardised(scores.astype(np.float64), ids >= 0)
            valued.append((ids, z))
            missing.append(z.min(axis=1, initial=0.0, where=ids >= 0))
        return best_sums(valued, missing, k)


def _standardised(scores: NDArray[np.float64], found: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return scores (Q, k) less their mean over what was found, over its standard deviation; 0 where they are all the same."""
    n = np.maximum(found.sum(axis=1, keepdims=True), 1)
    known = np.where(found, scores, 0.0)
    away = np.where(found, known - known.sum(axis=1, keepdims=True) / n, 0.0)
    spread = np.sqrt((away**2).sum(axis=1, keepdims=True) / n)
    z: NDArray[np.float64] = np.divide(away, spread, out=np.zeros_like(away), where=spread > 1e-9)
    return z


METHOD = Zsum
