"""csls(k): the cosine less how near both vectors are to everything else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Floats, Ids, Similarity
from hengyu.methods.search.exact import exact_search
from hengyu.numerics.pairwise import unit_rows
from hengyu.numerics.sample import Sample
from hengyu.numerics.similarity import cosines

__all__ = ["METHOD", "Csls"]

_MOST = 250  # neighbours
_SELF = 1 - 1e-6  # a reference with this cosine is the vector itself: float32 cannot tell them apart


@dataclass
class Csls(Similarity):
    """Subtracts from the cosine what two vectors share with all others: ``2 cos(x, y) - r(x) - r(y)``.

    r is the mean cosine of a vector with its ``k`` nearest reference sentences, those that the row is fitted on; a sentence is not
    its own neighbour. So a vector that is near to all others (a hub) has smaller similarities. Conneau, Lample, Ranzato, Denoyer,
    Jégou, Word translation without parallel data, ICLR 2018, with their k = 10; they take the neighbours of a word from the other
    language, and here both sides share one reference set.
    """

    needs_fit = True
    by_pair = False
    searchable = True
    stored = 1  # r, which follows from the vector and all reference sentences

    k: int = 10
    _reference: Sample | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.k <= _MOST:
            raise ValueError(f"csls(k={self.k}) must lie in 1..{_MOST}")

    def fit(self, reference: Sample) -> Self:
        """Take the reference sentences (m, d), each distinct one once; raises ValueError where they have no k neighbours."""
        if len(reference) <= self.k:
            raise ValueError(
                f"{len(reference)} distinct sentences to fit on are too few for csls(k={self.k}): a sentence has at most "
                f"{max(0, len(reference) - 1)} neighbours; lower k, or fit on more sentences"
            )
        rows = np.concatenate([unit_rows(part) for part, _ in reference.blocks()])
        self._reference = Sample.of(rows)
        return self

    def pairs(self, x: Floats, first: Ids, second: Ids) -> NDArray[np.float64]:
        """Return csls (n,) of rows ``first`` and ``second`` of x (m, d)."""
        near = self.nearness(x)
        found: NDArray[np.float64] = 2 * cosines(x, first, second) - near[first] - near[second]
        return found

    def nearness(self, x: Floats) -> NDArray[np.float64]:
        """Return the mean cosine (m,) of vectors (m, d) with their k nearest reference sentences, themselves left out."""
        assert self._reference is not None
        found = exact_search(self._reference, unit_rows(x), np.full(len(x), -1), self.k + 1)
        itself = found.scores[:, 0] > _SELF
        near: NDArray[np.float64] = np.where(
            itself, found.scores[:, 1:].mean(axis=1), found.scores[:, : self.k].mean(axis=1)
        )
        return near

    def as_products(self, rows: Sample, queries: Sample, block: int) -> tuple[Sample, Sample]:
        """Return rows and queries (n, d + 1) whose products order the rows of a query as csls does.

        r of the query is the same for all rows; half of r of a row becomes a column of its own.
        """
        most = np.sqrt(1.25)  # of a row [x, r / 2]

        def place(x: Floats) -> NDArray[np.float32]:
            return np.asarray(np.column_stack([unit_rows(x), -self.nearness(x) / 2]) / most, np.float32)

        def ask(q: Floats) -> NDArray[np.float32]:
            return np.asarray(np.column_stack([unit_rows(q), np.ones(len(q))]) / np.sqrt(2), np.float32)

        return rows.then(place), queries.then(ask)


METHOD = Csls
