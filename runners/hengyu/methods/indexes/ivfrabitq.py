"""ivfrabitq(lists, probes, bits, query_bits, fastscan, seed): cells as in ivf, with vectors stored as RaBitQ codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hengyu.base.errors import WrongSize
from hengyu.methods.search.base import FaissIndex
from hengyu.methods.search.rotated import check_rabitq, rotated

__all__ = ["METHOD", "Ivfrabitq"]

_EACH = 256  # maximum training vectors per centroid


@dataclass
class Ivfrabitq(FaissIndex):
    """As ``ivf``, but stores RaBitQ codes of the residuals (faiss ``IndexIVFRaBitQ``, ``IndexIVFRaBitQFastScan``).

    Gao, Long, RaBitQ, SIGMOD 2024: a code is taken around the centroid of its cell, so that the estimate errs by the length of
    the residual alone. d / 8 + 16 bytes per vector at 1 bit.
    """

    lists: int = 64
    probes: int = 8
    bits: int = 1
    query_bits: int = 8
    fastscan: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.lists <= 1_000_000:
            raise ValueError(f"ivfrabitq(lists={self.lists}) must lie in 1..1000000")
        if not 1 <= self.probes <= self.lists:
            raise ValueError(f"ivfrabitq(probes={self.probes}) must lie in 1..{self.lists}, the number of lists")
        check_rabitq("ivfrabitq", self.bits, self.query_bits, self.seed)
        self.training_rows = _EACH * self.lists

    def _make(self, d: int, n: int) -> Any:
        import faiss

        if n < self.lists:
            raise WrongSize(f"ivfrabitq(lists={self.lists}) has more lists than there are vectors ({n}); lower lists")
        cells, metric = faiss.IndexFlatIP(d), faiss.METRIC_INNER_PRODUCT
        if self.fastscan:
            index: Any = faiss.IndexIVFRaBitQFastScan(cells, d, self.lists, metric, 32, True, self.bits)
        else:
            index = faiss.IndexIVFRaBitQ(cells, d, self.lists, metric, True, self.bits)
        index.nprobe = self.probes
        index.qb = self.query_bits
        index.cp.min_points_per_centroid = 1
        return rotated(index, d, self.seed)


METHOD = Ivfrabitq
