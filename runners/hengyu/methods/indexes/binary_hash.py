"""binary-hash(bits, tables, flips): the signs of the columns, looked up in hash tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hengyu.base.errors import WrongSize
from hengyu.methods.search.binary import SignIndex

__all__ = ["METHOD", "BinaryHash"]


@dataclass
class BinaryHash(SignIndex):
    """Compares vectors with up to ``flips`` differing bits of ``bits`` in some of ``tables`` tables (``IndexBinaryMultiHash``).

    Table i hashes the i-th group of ``bits`` columns; results are ordered by the Hamming distance of all columns. More flips
    find more and take longer; a query may return fewer results than requested. Norouzi, Punjani, Fleet, Fast search in
    Hamming space with multi-index hashing, CVPR 2012; by faiss.
    """

    bits: int = 12
    tables: int = 4
    flips: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 32:
            raise ValueError(f"binary-hash(bits={self.bits}) must lie in 1..32")
        if not 1 <= self.tables <= 256:
            raise ValueError(f"binary-hash(tables={self.tables}) must lie in 1..256")
        if not 0 <= self.flips <= min(self.bits, 4):
            raise ValueError(f"binary-hash(flips={self.flips}) must lie in 0..{min(self.bits, 4)}")

    def _binary(self, bits: int) -> Any:
        import faiss

        if self.tables * self.bits > self._d:
            raise WrongSize(
                f"binary-hash(bits={self.bits}, tables={self.tables}) needs {self.tables * self.bits} columns, but "
                f"there are {self._d}; lower bits or tables"
            )
        index = faiss.IndexBinaryMultiHash(bits, self.tables, self.bits)
        index.nflip = self.flips
        return index


METHOD = BinaryHash
