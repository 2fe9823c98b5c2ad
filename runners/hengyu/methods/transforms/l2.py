"""l2: normalises every vector to length 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from hengyu.methods.base import Floats, Transform

__all__ = ["METHOD", "L2"]


@dataclass
class L2(Transform):
    """Scales each row to length 1; (n, d) to (n, d). A zero row stays zero.

    It does not change cosines, but it does change what later steps learn.
    """

    needs_fit = False

    def fit(self, x: Floats) -> Self:
        """Learn nothing."""
        return self

    def __call__(self, x: Floats) -> Floats:
        """Return the rows of x (n, d), normalised to length 1."""
        length = np.sqrt(np.einsum("nd,nd->n", x, x, dtype=np.float64))[:, None]
        scaled: Floats = np.zeros(x.shape, dtype=np.float64)
        np.divide(x, length, out=scaled, where=length > 0)
        return scaled


METHOD = L2
