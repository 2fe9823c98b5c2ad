"""The contribution of each pair to a Spearman correlation, which is their mean to first order."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hengyu.base.errors import Degenerate

__all__ = ["spearman_contributions"]

Floats = NDArray[np.float64]


def spearman_contributions(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """Return contributions (n,) whose mean is Spearman's correlation (mid-ranks) of scores (n,) and labels (n,).

    A contribution is the correlation plus n times its derivative by the weight of the pair (the infinitesimal jackknife,
    ties included; the formula is that of `hengyu.numerics.metrics.spearman_many`). Raises `Degenerate` if all scores or
    all labels are the same.
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    n = float(len(x))
    one, other = _Ranks(x), _Ranks(y)
    total_x, total_y = one.free.sum(), other.free.sum()
    if total_x <= 0.0 or total_y <= 0.0:
        raise Degenerate("all scores or all labels are the same")
    scale = 3.0 / np.sqrt(total_x) / np.sqrt(total_y)
    rho = scale * float(one.rank @ other.rank)
    cross = one.rank * other.rank + one.sides(other.rank) + other.sides(one.rank)
    return np.asarray(rho + n * (scale * cross - 1.5 * rho * (one.free / total_x + other.free / total_y)))


class _Ranks:
    """Doubled and centred mid-ranks (n,) of values, and n^2 - G^2 (n,) for tie groups of size G."""

    def __init__(self, values: Floats) -> None:
        self._order = np.argsort(values, kind="stable")
        ordered, n = values[self._order], len(values)
        self._below = np.searchsorted(ordered, values, "left")
        self._upto = np.searchsorted(ordered, values, "right")
        self.rank = (self._below + self._upto - n).astype(np.float64)
        self.free = float(n) * n - (self._upto - self._below).astype(np.float64) ** 2

    def sides(self, weights: Floats) -> Floats:
        """Return, for each value, the weights (n,) of the larger values minus those of the smaller values."""
        sums = np.concatenate([[0.0], np.cumsum(weights[self._order])])
        return np.asarray(sums[-1] - sums[self._upto] - sums[self._below])
