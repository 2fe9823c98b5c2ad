"""Vectors of signs: one bit per dimension, held as +1 and -1, so that their cosine follows from the Hamming distance."""

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
    """Return the number of bytes that hold a number of bits."""
    return -(-bits // 8)


def angle_cosine(similarity: Floats) -> NDArray[np.float64]:
    """Return the cosine of the angle that signs of random projections estimate, given the cosine of the signs.

    The latter is 1 - 2 h with h the share of bits that differ, and P(a bit differs) = angle / pi (Goemans and
    Williamson, 1995), so the estimate is cos(pi h) = sin(pi/2 similarity). It increases with the similarity, so rank
    metrics are the same for both.
    """
    return np.sin(np.pi / 2 * np.asarray(similarity, np.float64))
