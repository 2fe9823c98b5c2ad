"""The area under the ROC curve, ties counting half."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hengyu.numerics.metrics import auc
from hengyu.tasks.pairs.metric import PairMetric

__all__ = ["METRIC", "Auc"]

Floats = NDArray[np.float64]


class Auc(PairMetric):
    """The area under the ROC curve, ties counting half."""

    name = "auc"
    title = "Area under the ROC curve"
    place = 30
    binary = True
    fraction = True

    def value(self, similarity: Floats, labels: Floats) -> float:
        """Return the value; raises `Degenerate`."""
        return auc(similarity, labels)


METRIC = Auc
