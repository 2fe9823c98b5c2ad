"""euclidean: minus the Euclidean distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Floats, Ids, Similarity
from hengyu.numerics.pairwise import pairwise
from hengyu.numerics.sample import Sample

__all__ = ["METHOD", "Euclidean"]


@dataclass
class Euclidean(Similarity):
    """Measures how far apart two vectors lie: ``-|x - y|``, 0 for equal vectors.

    A shift of all vectors changes nothing. Where all have one length, it orders pairs as the cosine does.
    """

    searchable = True

    def pairs(self, x: Floats, first: Ids, second: Ids) -> NDArray[np.float64]:
        """Return minus the distance (n,) of rows ``first`` and ``second`` of x (m, d)."""
        return pairwise(x, first, second, lambda a, b: -np.linalg.norm(a - b, axis=1))

    def as_products(self, rows: Sample, queries: Sample, block: int) -> tuple[Sample, Sample]:
        """Return rows and queries (n, d + 1) whose products order the rows of a query as their distances do.

        ``|q - x|² = |q|² - 2 (q·x - |x|²/2)``: half of the squared length becomes a column of its own. All is measured from the
        mean of the rows, which keeps the numbers small, and rows are at most as long as 1.
        """
        parts = [np.asarray(x, np.float64).sum(axis=0) for x, _ in rows.blocks(block)]
        middle = np.sum(parts, axis=0) / len(rows)
        squares = (np.square(np.asarray(x, np.float64) - middle).sum(axis=1).max() for x, _ in rows.blocks(block))
        reach = float(np.sqrt(max(squares))) or 1.0
        most = np.sqrt(1.25)  # of a row [x, |x|²/2] with |x| = 1

        def place(x: Floats) -> NDArray[np.float32]:
            near = (np.asarray(x, np.float64) - middle) / reach
            return np.asarray(np.column_stack([near, np.square(near).sum(axis=1) / 2]) / most, np.float32)

        def ask(q: Floats) -> NDArray[np.float32]:
            near = np.column_stack([(np.asarray(q, np.float64) - middle) / reach, np.full(len(q), -1.0)])
            return np.asarray(near / np.linalg.norm(near, axis=1, keepdims=True), np.float32)

        return rows.then(place), queries.then(ask)


METHOD = Euclidean
