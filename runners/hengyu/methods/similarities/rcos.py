"""rcos: the dot product between the least and the most that reordering the columns could make of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Floats, Ids, Similarity
from hengyu.numerics.pairwise import bounded_by_one, pairwise, quotients

__all__ = ["METHOD", "Rcos"]


@dataclass
class Rcos(Similarity):
    """Places the dot product between its bounds by the rearrangement inequality, from -1 to 1.

    With ``x↑`` for the numbers of x in ascending order and ``y↓`` for those of y in descending order, ``x↑·y↓ <= x·y <= x↑·y↑``,
    and rcos is ``(2 x·y - x↑·y↓ - x↑·y↑) / (x↑·y↑ - x↑·y↓)``. It is 1 where the columns of x and y have one order and -1 where
    they have opposite ones; scaling a vector by a positive number or adding a number to all its columns changes nothing. A vector
    whose numbers are all equal has similarity 0. Su Jianlin, kexue.fm/archives/11818, 2026.
    """

    def pairs(self, x: Floats, first: Ids, second: Ids) -> NDArray[np.float64]:
        """Return rcos (n,) of rows ``first`` and ``second`` of x (m, d)."""
        return pairwise(x, first, second, _rcos)


def _rcos(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    # a number added to all columns changes nothing, so the mean is taken away: constant vectors become 0, and sums are exact longer
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    one, other = np.sort(a, axis=1), np.sort(b, axis=1)
    most, least = np.einsum("nd,nd->n", one, other), np.einsum("nd,nd->n", one, other[:, ::-1])
    span = most - least
    tiny = 1e-12 * np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    span = np.where(span > tiny, span, 0.0)
    return bounded_by_one(quotients(2 * np.einsum("nd,nd->n", a, b) - least - most, span))


METHOD = Rcos
