"""binary-flat: the signs of the columns, all compared by their Hamming distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hengyu.methods.search.binary import SignIndex

__all__ = ["METHOD", "BinaryFlat"]


@dataclass
class BinaryFlat(SignIndex):
    """Compares the signs of a query's columns with those of every vector (faiss ``IndexBinaryFlat``); d / 8 bytes per vector."""

    def _binary(self, bits: int) -> Any:
        import faiss

        return faiss.IndexBinaryFlat(bits)


METHOD = BinaryFlat
