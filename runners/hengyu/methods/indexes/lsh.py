"""lsh(bits): signs of rotated vectors, all compared by their Hamming distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.search.base import HammingIndex

__all__ = ["METHOD", "Lsh"]


@dataclass
class Lsh(HammingIndex):
    """Stores the signs of ``bits`` random directions (faiss ``IndexLSH``, a fixed rotation); bits / 8 bytes per vector.

    Charikar, Similarity estimation techniques from rounding algorithms, STOC 2002. The score is the cosine of the signs,
    1 - 2 Hamming / bits.
    """

    bits: int = 256

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 65536:
            raise ValueError(f"lsh(bits={self.bits}) must lie in 1..65536")

    def _make(self, d: int, n: int) -> Any:
        import faiss

        return faiss.IndexLSH(d, self.bits)

    def _score(self, found: NDArray[Any]) -> NDArray[np.float32]:
        return np.float32(1) - np.asarray(found, np.float32) * np.float32(2 / self.bits)


METHOD = Lsh
