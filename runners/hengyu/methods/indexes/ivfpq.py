"""ivfpq(lists, probes, m, bits, fastscan): cells as in ivf, with vectors stored as product codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hengyu.base.errors import WrongSize
from hengyu.methods.search.base import FaissIndex

__all__ = ["METHOD", "Ivfpq"]

_EACH = 256  # maximum training vectors per centroid


@dataclass
class Ivfpq(FaissIndex):
    """As ``ivf``, but stores ``m`` codes of ``bits`` bits per vector (faiss ``IndexIVFPQ``); m bits / 8 + 8 bytes per vector.

    Jégou, Douze, Schmid, Product quantization for nearest neighbor search, IEEE TPAMI 2011: each of m parts of the
    columns of the residual to the cell's centroid is replaced by the nearest of 2^bits centroids. ``fastscan`` compares 32 codes at
    a time, with ``bits=4`` (André, Kermarrec, Le Scouarnec, VLDB 2015; faiss ``IndexIVFPQFastScan``).
    """

    lists: int = 64
    probes: int = 8
    m: int = 16
    bits: int = 8
    fastscan: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.lists <= 1_000_000:
            raise ValueError(f"ivfpq(lists={self.lists}) must lie in 1..1000000")
        if not 1 <= self.probes <= self.lists:
            raise ValueError(f"ivfpq(probes={self.probes}) must lie in 1..{self.lists}, the number of lists")
        if self.m < 1:
            raise ValueError(f"ivfpq(m={self.m}) must be at least 1")
        if not 1 <= self.bits <= 12:
            raise ValueError(f"ivfpq(bits={self.bits}) must lie in 1..12")
        if self.fastscan and self.bits != 4:
            raise ValueError(f"ivfpq(bits={self.bits}, fastscan=true) needs bits=4")
        self.training_rows = _EACH * max(self.lists, 2**self.bits)

    def _make(self, d: int, n: int) -> Any:
        import faiss

        if d % self.m:
            raise WrongSize(f"ivfpq(m={self.m}) does not divide the {d} columns; give an m that does")
        if n < max(self.lists, 2**self.bits):
            raise WrongSize(
                f"ivfpq(lists={self.lists}, bits={self.bits}) has more centroids than there are vectors ({n}); "
                "lower lists or bits"
            )
        made = faiss.IndexIVFPQFastScan if self.fastscan else faiss.IndexIVFPQ
        index = made(faiss.IndexFlatIP(d), d, self.lists, self.m, self.bits, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = self.probes
        index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1
        return index


METHOD = Ivfpq
