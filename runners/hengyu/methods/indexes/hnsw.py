"""hnsw(m, ef, build_ef): greedy search in a layered graph of near neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hengyu.methods.search.base import FaissIndex

__all__ = ["METHOD", "Hnsw"]


@dataclass
class Hnsw(FaissIndex):
    """Searches a layered graph of ``m`` links per vector with ``ef`` candidates at a time (faiss ``IndexHNSWFlat``).

    Malkov and Yashunin, Efficient and robust approximate nearest neighbor search using hierarchical navigable small
    world graphs, IEEE TPAMI 2018. ``build_ef`` is the number of candidates during construction. A search for k neighbours
    has at least k candidates. About 4 d + 8 m bytes per vector. Built on one thread, so the graph is always the same.
    """

    m: int = 16
    ef: int = 64
    build_ef: int = 40

    def __post_init__(self) -> None:
        if not 2 <= self.m <= 512:
            raise ValueError(f"hnsw(m={self.m}) must lie in 2..512")
        for name, value in (("ef", self.ef), ("build_ef", self.build_ef)):
            if not 1 <= value <= 100_000:
                raise ValueError(f"hnsw({name}={value}) must lie in 1..100000")

    def _make(self, d: int, n: int) -> Any:
        import faiss

        index = faiss.IndexHNSWFlat(d, self.m, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efSearch = self.ef
        index.hnsw.efConstruction = self.build_ef
        return index


METHOD = Hnsw
