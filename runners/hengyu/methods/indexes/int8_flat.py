"""int8-flat: one byte a column of all vectors, compared with the query itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hengyu.methods.search.base import FaissIndex

__all__ = ["METHOD", "Int8Flat"]


@dataclass
class Int8Flat(FaissIndex):
    """Compares a query with every vector at one byte a column (faiss ``IndexScalarQuantizer``); d bytes per vector.

    A column is divided into 255 equal steps between its smallest and largest value among at most 65,536 vectors; values beyond
    are clipped. The query is not quantized.
    """

    training_rows = 65536  # for the ranges

    def _make(self, d: int, n: int) -> Any:
        import faiss

        return faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)


METHOD = Int8Flat
