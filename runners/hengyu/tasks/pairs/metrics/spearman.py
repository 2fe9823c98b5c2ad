"""Spearman's rank correlation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hengyu.numerics.influence import spearman_contributions
from hengyu.numerics.metrics import spearman
from hengyu.tasks.pairs.metric import PairMetric

__all__ = ["METRIC", "Spearman"]

Floats = NDArray[np.float64]


class Spearman(PairMetric):
    """Spearman's rank correlation, equal values sharing the mean of their ranks."""

    name = "spearman"
    title = "Spearman"
    place = 10

    def value(self, similarity: Floats, labels: Floats) -> float:
        """Return the value; raises `Degenerate`."""
        return spearman(similarity, labels)

    def contributions(self, similarity: Floats, labels: Floats) -> Floats:
        """Return what each pair contributes (n,), by the infinitesimal jackknife."""
        return spearman_contributions(similarity, labels)


METRIC = Spearman
