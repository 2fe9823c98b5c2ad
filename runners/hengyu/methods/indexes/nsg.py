"""nsg(r, search_width): greedy search in a flat graph of near neighbours with few, well spread links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import WrongSize
from hengyu.methods.base import Floats, Ids
from hengyu.methods.search.base import FaissIndex, by_score, portions
from hengyu.numerics.sample import Sample

__all__ = ["METHOD", "Nsg"]

_NEIGHBOURS = 64  # of the graph that it is pruned from


@dataclass
class Nsg(FaissIndex):
    """Searches a graph of at most ``r`` links per vector with ``search_width`` candidates at a time (faiss ``IndexNSGFlat``).

    Fu et al., Fast approximate nearest neighbor search with the navigating spreading-out graph, VLDB 2019. The graph is pruned
    from one of 64 neighbours per vector, so there must be more vectors than that. 4 d + 4 r bytes per vector. A search for k
    neighbours has at least k candidates. Vectors have length 1, so the nearest are those of the largest inner product.
    """

    r: int = 32
    search_width: int = 64

    def __post_init__(self) -> None:
        if not 2 <= self.r <= 512:
            raise ValueError(f"nsg(r={self.r}) must lie in 2..512")
        if not 1 <= self.search_width <= 100_000:
            raise ValueError(f"nsg(search_width={self.search_width}) must lie in 1..100000")

    def _make(self, d: int, n: int) -> Any:
        import faiss

        if n <= _NEIGHBOURS:
            raise WrongSize(f"nsg needs more than {_NEIGHBOURS} vectors, not {n}; use flat, which is exact")
        index: Any = faiss.IndexNSGFlat(d, self.r, faiss.METRIC_L2)  # type: ignore[call-arg]  # its stubs lack them
        index.GK = _NEIGHBOURS
        return index

    def build(self, x: Floats | Sample, block: int = 4096) -> Self:
        """Build the graph of the rows of x (n, d), all at once: faiss's takes no more vectors later."""
        rows = x if isinstance(x, Sample) else Sample.of(x)
        every = np.concatenate([part.copy() for part in portions(rows, block)])
        self._n = len(every)
        self._index = self._make(every.shape[1], self._n)
        self._empty = self.size()
        self._index.add(self._take(every))
        return self

    def search(self, q: Floats, k: int) -> tuple[Ids, NDArray[np.float32]]:
        """Return row numbers and scores (Q, k), best first, ties by number; -1 and -inf if fewer are found."""
        self._index.nsg.search_L = max(self.search_width, k)
        found, ids = self._index.search(self._take(q), k)
        return by_score(ids, np.where(ids >= 0, 1 - found / 2, -np.inf).astype(np.float32))


METHOD = Nsg
