"""Indexes: what finds the nearest of many vectors, exactly or nearly."""

from __future__ import annotations

from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hengyu.numerics.sample import Sample

__all__ = ["Floats", "Ids", "Index"]

Floats = NDArray[np.floating[Any]]
Ids = NDArray[np.int64]


@runtime_checkable
class Index(Protocol):
    """The last step of an entry in a retrieval suite: vectors to neighbours by inner product.

    The vectors that a task gives have length 1, so that the inner product is the cosine.
    """

    def build(self, x: Floats | Sample, block: int = 4096) -> Self:
        """Take in the rows of x (n, d), read ``block`` at a time; what is found later does not depend on ``block``."""

    def search(self, q: Floats, k: int) -> tuple[Ids, NDArray[np.float32]]:
        """Return row numbers and scores (Q, k) for queries (Q, d), best first, ties by number, -1 where none is left."""

    def size(self) -> int:
        """Return the bytes the index takes."""

    def vector_size(self) -> float:
        """Return the bytes that one vector more takes."""
