"""recos: the dot product as a share of the most that reordering the columns could make of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Floats, Ids, Similarity
from hengyu.numerics.pairwise import bounded_by_one, pairwise, quotients

__all__ = ["METHOD", "Recos"]


@dataclass
class Recos(Similarity):
    """Divides the dot product by its bound of the same sign, from -1 to 1.

    With ``x↑`` for the numbers of x in ascending order, recos is ``x·y / |x↑·y↑|`` where ``x·y > 0``, ``x·y / |x↑·y↓|`` where
    ``x·y < 0``, and 0 where it is 0. The bound is at most ``|x| |y|``, so recos is never nearer to 0 than the cosine. It is 1 where
    the columns of x and y have one order and their product is positive. Ai, Beyond cosine similarity, arXiv:2602.05266, 2026.
    """

    def pairs(self, x: Floats, first: Ids, second: Ids) -> NDArray[np.float64]:
        """Return recos (n,) of rows ``first`` and ``second`` of x (m, d)."""
        return pairwise(x, first, second, _recos)


def _recos(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    one, other = np.sort(a, axis=1), np.sort(b, axis=1)
    dot = np.einsum("nd,nd->n", a, b)
    bound = np.einsum("nd,nd->n", one, np.where(dot[:, None] > 0, other, other[:, ::-1]))
    return bounded_by_one(quotients(dot, np.abs(np.where(dot == 0, 0.0, bound))))


METHOD = Recos
