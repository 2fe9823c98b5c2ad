"""raw: the encoder's unchanged vectors, the reference for every method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from hengyu.methods.base import Floats, Transform

__all__ = ["METHOD", "Raw"]


@dataclass
class Raw(Transform):
    """Leaves the vectors unchanged; (n, d) to (n, d)."""

    affine = True
    needs_fit = False

    def fit(self, x: Floats) -> Self:
        """Learn nothing."""
        return self

    def __call__(self, x: Floats) -> Floats:
        """Return x (n, d) itself."""
        return x


METHOD = Raw
