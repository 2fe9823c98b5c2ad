"""Accuracy with the pairs at or above a threshold as positive."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hengyu.numerics.metrics import accuracy_at, best_accuracy
from hengyu.tasks.pairs.metric import Decision

__all__ = ["METRIC", "Accuracy"]

Floats = NDArray[np.float64]


class Accuracy(Decision):
    """Accuracy with the pairs at or above a threshold as positive."""

    name = "accuracy"
    title = "Accuracy"
    place = 60

    def best(self, similarity: Floats, labels: Floats) -> float:
        """Return the threshold with the highest value; raises `Degenerate`."""
        return best_accuracy(similarity, labels)[0]

    def at(self, similarity: Floats, labels: Floats, threshold: float) -> float:
        """Return the value at a threshold; raises `Degenerate`."""
        return accuracy_at(similarity, labels, threshold)


METRIC = Accuracy
