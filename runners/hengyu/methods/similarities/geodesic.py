"""geodesic: minus the angle between two vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Floats, Ids, Similarity
from hengyu.numerics.pairwise import unit_rows
from hengyu.numerics.sample import Sample
from hengyu.numerics.similarity import cosines

__all__ = ["METHOD", "Geodesic"]


@dataclass
class Geodesic(Similarity):
    """Measures the angle: ``-arccos(cosine)`` in radians, from -π to 0, the distance along the sphere.

    It orders pairs as the cosine does, so every metric of ranks is the cosine's; Pearson's correlation is not.
    """

    searchable = True

    def pairs(self, x: Floats, first: Ids, second: Ids) -> NDArray[np.float64]:
        """Return minus the angle (n,) of rows ``first`` and ``second`` of x (m, d); -π/2 where a vector is zero."""
        return -np.arccos(cosines(x, first, second))

    def as_products(self, rows: Sample, queries: Sample, block: int) -> tuple[Sample, Sample]:
        """Return both at length 1."""
        return rows.then(unit_rows), queries.then(unit_rows)


METHOD = Geodesic
