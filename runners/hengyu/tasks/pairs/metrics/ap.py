"""Average precision, by scikit-learn's definition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hengyu.numerics.metrics import average_precision
from hengyu.tasks.pairs.metric import PairMetric

__all__ = ["METRIC", "AveragePrecision"]

Floats = NDArray[np.float64]


class AveragePrecision(PairMetric):
    """Average precision, by scikit-learn's definition."""

    name = "ap"
    title = "Average precision"
    place = 40
    binary = True
    fraction = True

    def value(self, similarity: Floats, labels: Floats) -> float:
        """Return the value; raises `Degenerate`."""
        return average_precision(similarity, labels)


METRIC = AveragePrecision
