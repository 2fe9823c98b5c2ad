"""dot: the dot product of two vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Floats, Ids, Similarity
from hengyu.numerics.pairwise import pairwise, unit_rows
from hengyu.numerics.sample import Sample

__all__ = ["METHOD", "Dot"]


@dataclass
class Dot(Similarity):
    """The inner product: ``x·y``. Longer vectors are more alike to everything that lies on their side.

    It is the cosine where all vectors have one length, as after ``l2``.
    """

    searchable = True

    def pairs(self, x: Floats, first: Ids, second: Ids) -> NDArray[np.float64]:
        """Return the dot product (n,) of rows ``first`` and ``second`` of x (m, d)."""
        return pairwise(x, first, second, lambda a, b: np.einsum("nd,nd->n", a, b))

    def as_products(self, rows: Sample, queries: Sample, block: int) -> tuple[Sample, Sample]:
        """Return the rows divided by the length of the longest, and the queries at length 1: no query's order changes."""
        longest = max(
            float(np.sqrt(np.einsum("nd,nd->n", x, x, dtype=np.float64).max())) for x, _ in rows.blocks(block)
        )
        scale = 1 / longest if longest > 0 else 1.0
        return rows.then(lambda x: np.asarray(np.asarray(x, np.float64) * scale, np.float32)), queries.then(unit_rows)


METHOD = Dot
