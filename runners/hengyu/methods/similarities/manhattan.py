"""manhattan: minus the sum of the differences of all columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Floats, Ids, Similarity
from hengyu.numerics.pairwise import pairwise

__all__ = ["METHOD", "Manhattan"]


@dataclass
class Manhattan(Similarity):
    """Adds up how far apart two vectors are in each column: ``-Σ |x_i - y_i|``, 0 for equal vectors.

    A shift of all vectors changes nothing, but a rotation does.
    """

    def pairs(self, x: Floats, first: Ids, second: Ids) -> NDArray[np.float64]:
        """Return minus the sum of differences (n,) of rows ``first`` and ``second`` of x (m, d)."""
        return pairwise(x, first, second, lambda a, b: -np.abs(a - b).sum(axis=1))


METHOD = Manhattan
