"""Affine maps x W + b: many methods are one, and a chain of them is one too."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Affine", "affine_of"]


class Affine(NamedTuple):
    """The map x (n, d) to x W + b (n, k), with W (d, k) and b (k,) in float64."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def identity(cls, width: int) -> Self:
        """Return the map that leaves x (n, width) as it is."""
        return cls(np.eye(width), np.zeros(width))

    def then(self, other: Affine) -> Affine:
        """Return this map followed by another, as one."""
        return Affine(self.weight @ other.weight, self.bias @ other.weight + other.bias)


def affine_of(method: Any, width: int) -> Affine | None:
    """Return a fitted method as an affine map on rows of a width; None if the method does not declare itself affine.

    A method declares it with ``affine = True``; the map is read off the images of the origin and the unit vectors.
    """
    if not method.affine:
        return None
    bias = np.asarray(method(np.zeros((1, width))), np.float64)[0]
    return Affine(np.asarray(method(np.eye(width)), np.float64) - bias, bias)
