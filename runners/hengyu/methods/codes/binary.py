"""binary: the sign of every dimension, one bit each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Code, Floats
from hengyu.numerics.signs import bit_bytes, signs_of

__all__ = ["METHOD", "Binary"]


@dataclass
class Binary(Code):
    """Maps x to the sign of each of its columns, as +1 and -1; (n, d) to (n, d), int8.

    The bits are those of sentence-transformers' binary quantization (1 where a value is above 0). Their cosine is
    1 - 2 Hamming / d, so ranks are those of the Hamming distance. A column whose values all have the same sign carries no
    information: ``center > binary``, ``whitening > binary`` and ``itq`` make every bit count.
    """

    needs_fit = False

    def fit(self, x: Floats) -> Self:
        """Learn nothing."""
        return self

    def __call__(self, x: Floats) -> NDArray[np.int8]:
        """Return the signs (n, d) of x (n, d)."""
        return signs_of(x)

    def bytes_per_vector(self, width: int) -> int:
        """Return the bytes of one vector's packed signs."""
        return bit_bytes(width)


METHOD = Binary
