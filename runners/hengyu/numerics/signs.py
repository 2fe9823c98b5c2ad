"""Vectors of signs: one bit a dimension, kept as +1 and -1 so that their cosine is the Hamming distance in other words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["angle_cosine", "bit_bytes", "signs_of"]

Floats = NDArray[np.floating[Any]]


def signs_of(x: Floats) -> NDArray[np.int8]:
    """Return 1 where x is above 0 and -1 elsewhere, in x's shape."""
    return np.where(x > 0, np.int8(1), np.int8(-1))


def bit_bytes(bits: int) -> int:
    """Return the bytes that a number of bits takes."""
    return -(-bits // 8)


def angle_cosine(similarity: Floats) -> NDArray[np.float64]:
    """Return the cosine of the angle that signs of random projections estimate, from the cosine of the signs.

    That cosine is 1 - 2 h with h the share of bits that differ, and P(a bit differs) = angle / pi (Goemans and
    Williamson, 1995), so that the estimate is cos(pi h) = sin(pi/2 similarity). It grows with the similarity: every
    metric of ranks is the same for both.
    """
    return np.sin(np.pi / 2 * np.asarray(similarity, np.float64))
