"""standardize: each dimension to mean 0 and variance 1, like batch normalisation without its learned scale."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from hengyu.methods.base import Floats
from hengyu.methods.fitted import MomentTransform
from hengyu.numerics.moments import FLOOR, Moments

__all__ = ["METHOD", "Standardize"]


@dataclass
class Standardize(MomentTransform):
    """Subtracts the mean and divides by the standard deviation of each dimension; (n, d) to (n, d).

    A dimension that is constant in the fitted rows (variance below 1e-12 of the largest) becomes 0. Equals the
    inference step of Ioffe and Szegedy, Batch Normalization, ICML 2015, with scale 1 and shift 0.
    """

    mean: Floats = field(init=False, repr=False)
    scale: Floats = field(init=False, repr=False)

    affine = True

    def fit_moments(self, moments: Moments) -> Self:
        """Learn mean and scale from moments."""
        variance = np.diag(moments.covariance)
        alive = variance > FLOOR * variance.max(initial=0.0)
        self.mean = moments.mean
        self.scale = np.zeros_like(variance)
        self.scale[alive] = 1.0 / np.sqrt(variance[alive])
        return self

    def __call__(self, x: Floats) -> Floats:
        """Return (x - mean) * scale for x (n, d)."""
        return (x - self.mean) * self.scale


METHOD = Standardize
