"""Pearson's correlation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hengyu.numerics.metrics import pearson
from hengyu.tasks.pairs.metric import PairMetric

__all__ = ["METRIC", "Pearson"]

Floats = NDArray[np.float64]


class Pearson(PairMetric):
    """Pearson's correlation."""

    name = "pearson"
    title = "Pearson"
    place = 20

    def value(self, similarity: Floats, labels: Floats) -> float:
        """Return the value; raises `Degenerate`."""
        return pearson(similarity, labels)


METRIC = Pearson
