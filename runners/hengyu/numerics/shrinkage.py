"""Shrinkage of a covariance towards a multiple of the identity, for fewer rows than it has entries."""

from __future__ import annotations

import numpy as np

from hengyu.numerics.moments import Moments
from hengyu.numerics.sample import Sample

__all__ = ["ledoit_wolf"]


def ledoit_wolf(moments: Moments, sample: Sample) -> float:
    """Return the weight in 0..1 of the identity that makes the expected squared error of the covariance least.

    Besides the moments of the rows it needs the sum of the fourth powers of their lengths, for which it passes over the
    ``sample`` once. Ledoit, Wolf, A well-conditioned estimator for large-dimensional covariance matrices, 2004; equals
    `sklearn.covariance.ledoit_wolf_shrinkage`.
    """
    n, width = moments.count, len(moments.mean)
    fourth = 0.0
    for rows, times in sample.blocks():
        block = np.subtract(rows, moments.mean, dtype=np.float64)
        fourth += float(np.asarray(times, np.float64) @ np.einsum("nd,nd->n", block, block) ** 2)
    scatter = moments.scatter / n
    squared = float(np.einsum("de,de->", scatter, scatter))
    spread = (squared - float(np.trace(scatter)) ** 2 / width) / width
    noise = (fourth / n - squared) / (n * width)
    return min(noise, spread) / spread if spread > 0 and noise > 0 else 0.0
