"""cosine: the cosine of the angle between two vectors, the rule unless an entry names another similarity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Floats, Ids, Similarity
from hengyu.numerics.pairwise import unit_rows
from hengyu.numerics.sample import Sample
from hengyu.numerics.similarity import cosines

__all__ = ["METHOD", "Cosine"]


@dataclass
class Cosine(Similarity):
    """Compares directions: ``x·y / (|x| |y|)``, from -1 to 1; 0 where a vector is zero.

    Lengths do not count. It is what an entry without ``by`` is compared by, so ``raw by cosine`` is ``raw``.
    """

    searchable = True

    def pairs(self, x: Floats, first: Ids, second: Ids) -> NDArray[np.float64]:
        """Return the cosine (n,) of rows ``first`` and ``second`` of x (m, d)."""
        return cosines(x, first, second)

    def as_products(self, rows: Sample, queries: Sample, block: int) -> tuple[Sample, Sample]:
        """Return both at length 1."""
        return rows.then(unit_rows), queries.then(unit_rows)


METHOD = Cosine
