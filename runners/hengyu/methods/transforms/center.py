"""center: subtracts the mean vector."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from hengyu.methods.base import Floats
from hengyu.methods.fitted import MomentTransform
from hengyu.numerics.moments import Moments

__all__ = ["METHOD", "Center"]


@dataclass
class Center(MomentTransform):
    """Subtracts the mean of the fitted rows; (n, d) to (n, d)."""

    mean: Floats = field(init=False, repr=False)

    affine = True

    def fit_moments(self, moments: Moments) -> Self:
        """Learn the mean from moments."""
        self.mean = moments.mean
        return self

    def __call__(self, x: Floats) -> Floats:
        """Return x (n, d) minus the mean."""
        return x - self.mean


METHOD = Center
