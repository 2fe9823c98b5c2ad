"""flat: exact search, the ground truth for every other index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Floats, Ids
from hengyu.methods.search.base import FaissIndex, by_score

__all__ = ["METHOD", "Flat"]

_SPARE = 16  # results requested beyond k, so that a tie at k ends within them


@dataclass
class Flat(FaissIndex):
    """Compares a query with every vector (faiss ``IndexFlatIP``); 4 d bytes per vector."""

    def _make(self, d: int, n: int) -> Any:
        import faiss

        return faiss.IndexFlatIP(d)

    def search(self, q: Floats, k: int) -> tuple[Ids, NDArray[np.float32]]:
        """Return the k nearest rows and their inner products (Q, k), best first, ties by number."""
        x = self._take(q)
        scores, ids = self._index.search(x, min(k + _SPARE, max(self._n, k)))
        ids, scores = by_score(ids, scores)
        if ids.shape[1] > k:
            # faiss keeps an arbitrary one of the rows that tie at the last place
            for query in np.flatnonzero(scores[:, -1] == scores[:, k - 1]):
                ids[query, :k], scores[query, :k] = self._scan(x[query], k)
        return ids[:, :k], scores[:, :k]

    def _scan(self, query: NDArray[np.float32], k: int) -> tuple[Ids, NDArray[np.float32]]:
        import faiss

        rows = faiss.rev_swig_ptr(self._index.get_xb(), self._n * len(query)).reshape(self._n, len(query))
        scores = rows @ query
        order = np.lexsort((np.arange(self._n), -scores))[:k]
        return order, scores[order]


METHOD = Flat
