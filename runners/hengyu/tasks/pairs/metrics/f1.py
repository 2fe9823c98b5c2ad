"""F1 of the pairs at or above a threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hengyu.numerics.metrics import best_f1, f1_at
from hengyu.tasks.pairs.metric import Decision

__all__ = ["METRIC", "F1"]

Floats = NDArray[np.float64]


class F1(Decision):
    """F1 of the pairs at or above a threshold."""

    name = "f1"
    title = "F1"
    place = 50

    def best(self, similarity: Floats, labels: Floats) -> float:
        """Return the threshold with the highest value; raises `Degenerate`."""
        return best_f1(similarity, labels)[0]

    def at(self, similarity: Floats, labels: Floats, threshold: float) -> float:
        """Return the value at a threshold; raises `Degenerate`."""
        return f1_at(similarity, labels, threshold)


METRIC = F1
