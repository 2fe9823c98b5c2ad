"""cross-flat(model): every document scored together with the query by a cross-encoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Ids
from hengyu.methods.search.scored import ScoredSearch

__all__ = ["METHOD", "CrossFlat"]


@dataclass
class CrossFlat(ScoredSearch):
    """Ranks every document by a cross-encoder's score of it and the query: exact, at one call for each document and query.

    ``model`` is a cross-encoder's folder or cached hub id, such as `hengyu export-model` writes of a row of
    `cross-encoder`. Only for small corpora: it is what `cur` and `cross-rerank` are compared with.
    """

    def _one(self, query: str, k: int) -> tuple[Ids, NDArray[np.float64]]:
        """Score all documents."""
        rows = np.arange(len(self._texts))
        return self.best(rows, self.of_query(query, rows), k)


METHOD = CrossFlat
