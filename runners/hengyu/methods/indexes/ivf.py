"""ivf(lists, probes): vectors in cells around centroids; only the nearest cells are searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hengyu.base.errors import WrongSize
from hengyu.methods.search.base import FaissIndex

__all__ = ["METHOD", "Ivf"]

_EACH = 256  # maximum training vectors per centroid


@dataclass
class Ivf(FaissIndex):
    """Searches ``probes`` of ``lists`` cells, found by k-means over the indexed vectors (faiss ``IndexIVFFlat``).

    Sivic and Zisserman, Video Google, ICCV 2003. 4 d + 8 bytes per vector.
    """

    lists: int = 64
    probes: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.lists <= 1_000_000:
            raise ValueError(f"ivf(lists={self.lists}) must lie in 1..1000000")
        if not 1 <= self.probes <= self.lists:
            raise ValueError(f"ivf(probes={self.probes}) must lie in 1..{self.lists}, the number of lists")
        self.training_rows = _EACH * self.lists

    def _make(self, d: int, n: int) -> Any:
        import faiss

        if n < self.lists:
            raise WrongSize(f"ivf(lists={self.lists}) has more lists than there are vectors ({n}); lower lists")
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(d), d, self.lists, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = self.probes
        index.cp.min_points_per_centroid = 1
        return index


METHOD = Ivf
