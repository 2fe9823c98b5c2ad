"""rescore(k): the first k results of the index before it, put in order by exact products."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Floats, Ids, Index
from hengyu.methods.search.base import by_score, portions
from hengyu.numerics.sample import Sample

__all__ = ["METHOD", "Rescore"]

_HELD = 1 << 24  # numbers of candidates' vectors that are held at a time


@dataclass
class Rescore(Index):
    """Asks the index before it for ``k`` candidates, at least as many as are wanted, and orders them by exact inner products.

    ``rabitq-flat > rescore(k=200)`` and its like: the coarse index is small and fast, and its errors of order are mended as far as
    the neighbours are among the candidates. The vectors are kept for it, 4 d bytes each beside those of the index.
    """

    k: int = 100
    _coarse: Index = field(init=False, repr=False)
    _x: NDArray[np.float32] = field(init=False, repr=False)

    after_index = True

    def __post_init__(self) -> None:
        if not 1 <= self.k <= 1_000_000:
            raise ValueError(f"rescore(k={self.k}) must lie in 1..1000000")

    def over(self, coarse: Index) -> Self:
        """Set the index that gives the candidates."""
        self._coarse = coarse
        return self

    def build(self, x: Floats | Sample, block: int = 4096) -> Self:
        """Build the index of the rows of x (n, d), and keep the rows."""
        rows = x if isinstance(x, Sample) else Sample.of(x)
        self._coarse.build(rows, block)
        self._x = np.concatenate([part.copy() for part in portions(rows, block)]).astype(np.float32, copy=False)
        return self

    def search(self, q: Floats, k: int) -> tuple[Ids, NDArray[np.float32]]:
        """Return row numbers and inner products (Q, k), best first, ties by number; -1 and -inf if fewer are found."""
        queries = np.ascontiguousarray(q, np.float32)
        wide = min(max(self.k, k), len(self._x))
        ids, _ = self._coarse.search(queries, wide)
        out = np.full((len(queries), k), -1, np.int64)
        best = np.full((len(queries), k), -np.inf, np.float32)
        step = max(1, _HELD // max(wide * queries.shape[1], 1))
        for start in range(0, len(queries), step):
            at = slice(start, start + step)
            mine = ids[at]
            scores = np.matmul(self._x[np.maximum(mine, 0)], queries[at][:, :, None])[:, :, 0]
            scores = np.where(mine >= 0, scores, np.float32(-np.inf))
            order = np.lexsort((mine, -scores), axis=1)[:, :k]
            found = order.shape[1]
            out[at, :found] = np.take_along_axis(mine, order, axis=1)
            best[at, :found] = np.take_along_axis(scores, order, axis=1)
        return by_score(out, best)

    def size(self) -> int:
        """Return the size of the index and of the vectors in bytes."""
        return self._coarse.size() + int(self._x.nbytes)

    def vector_size(self) -> float:
        """Return the bytes that one more vector adds to both."""
        return self._coarse.vector_size() + 4 * int(self._x.shape[1])


METHOD = Rescore
