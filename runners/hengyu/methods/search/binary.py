"""The common part of the sign indexes: vectors to packed bits, Hamming distances to cosines of signs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Floats
from hengyu.methods.search.base import HammingIndex

__all__ = ["SignIndex"]


class SignIndex(HammingIndex):
    """A faiss index of bits, one per column, set if the value is above 0; a ``whitening`` or ``jl`` before it makes better bits.

    The score is the cosine of the signs, 1 - 2 Hamming / d.
    """

    _d: int

    def _make(self, d: int, n: int) -> Any:
        self._d = d
        return self._binary(-(-d // 8) * 8)

    def _binary(self, bits: int) -> Any:
        """Return the empty faiss index for vectors of ``bits`` bits."""
        raise NotImplementedError

    def _take(self, x: Floats) -> NDArray[Any]:
        return np.packbits(x > 0, axis=1)  # the last byte is padded with zeros, which never differ

    def _score(self, found: NDArray[Any]) -> NDArray[np.float32]:
        return np.float32(1) - found.astype(np.float32) * np.float32(2 / self._d)
