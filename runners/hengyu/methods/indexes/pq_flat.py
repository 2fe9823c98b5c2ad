"""pq-flat(m, bits, seed): product codes of all vectors, compared with the query itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from hengyu.base.errors import WrongSize
from hengyu.methods.search.base import FaissIndex
from hengyu.numerics.product_codes import product_centroids

__all__ = ["METHOD", "PqFlat"]

_EACH = 256  # maximum training vectors per centroid


@dataclass
class PqFlat(FaissIndex):
    """Compares a query with the product codes of every vector (faiss ``IndexPQ``); m bits / 8 bytes per vector.

    Jégou, Douze, Schmid, Product quantization for nearest neighbor search, IEEE TPAMI 2011: each of ``m`` parts of the columns is
    replaced by the nearest of 2^``bits`` centroids, found by k-means that ``seed`` starts. The query is not quantized (asymmetric
    distance). It is ``ivfpq`` without cells, and so without 8 bytes per vector for its number.
    """

    m: int = 16
    bits: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.m < 1:
            raise ValueError(f"pq-flat(m={self.m}) must be at least 1")
        if not 1 <= self.bits <= 12:
            raise ValueError(f"pq-flat(bits={self.bits}) must lie in 1..12")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"pq-flat(seed={self.seed}) must lie in 0..2^31")
        self.training_rows = _EACH * 2**self.bits

    def _make(self, d: int, n: int) -> Any:
        import faiss

        if d % self.m:
            raise WrongSize(f"pq-flat(m={self.m}) does not divide the {d} columns; give an m that does")
        if n < 2**self.bits:
            raise WrongSize(f"pq-flat(bits={self.bits}) has more centroids than there are vectors ({n}); lower bits")
        index: Any = faiss.IndexPQ(d, self.m, self.bits, faiss.METRIC_INNER_PRODUCT)
        return index

    def _train(self, x: NDArray[Any]) -> None:
        import faiss

        faiss.copy_array_to_vector(product_centroids(x, self.m, self.bits, self.seed).ravel(), self._index.pq.centroids)
        self._index.is_trained = True


METHOD = PqFlat
