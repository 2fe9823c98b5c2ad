"""simhash(bits, kind, seed): signs of random projections, whose Hamming distance estimates the angle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Code, Floats
from hengyu.numerics.projections import MOST, gaussian, orthogonal_blocks
from hengyu.numerics.signs import bit_bytes, signs_of

__all__ = ["METHOD", "SimHash"]

_BLOCK = 2048  # rows
_KINDS = {"gaussian": gaussian, "orthogonal": orthogonal_blocks}


@dataclass
class SimHash(Code):
    """Maps x to sign(x R), R random, as +1 and -1; (n, d) to (n, bits), int8.

    Charikar, Similarity estimation techniques from rounding algorithms (STOC 2002): two vectors at angle t differ in
    each bit with probability t / pi. Pairs are compared by the cosine of the signs, 1 - 2 Hamming / bits. Its ranks, and so
    Spearman, AUC, average precision, F1 and accuracy, are those of the Hamming distance and of the estimate
    cos(pi Hamming / bits); only Pearson differs. `hengyu.numerics.signs.angle_cosine` converts the first into the estimate.

    ``kind``: ``orthogonal`` directions in blocks of d (Ji et al., Super-bit locality-sensitive hashing, NIPS 2012); or
    independent ``gaussian`` ones, as published. Both give each bit the same probability and cost the same; at angles up to
    90 degrees the sum of orthogonal bits varies less, so fewer bits are needed.

    Products are computed in float64: a bit must not depend on how many rows are hashed at once.
    """

    bits: int
    kind: str = "orthogonal"
    seed: int = 0
    _matrices: dict[int, NDArray[np.float64]] = field(init=False, repr=False, default_factory=dict)

    needs_fit = False

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MOST:
            raise ValueError(f"simhash(bits={self.bits}) must lie in 1..{MOST}")
        if self.kind not in _KINDS:
            raise ValueError(f"simhash(kind={self.kind}) must be one of {', '.join(_KINDS)}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"simhash(seed={self.seed}) must lie in 0..2^63")

    def fit(self, x: Floats) -> Self:
        """Learn nothing: the draw depends only on the seed and the width."""
        return self

    def __call__(self, x: Floats) -> NDArray[np.int8]:
        """Return the signs (n, bits) of the rows of x (n, d)."""
        d = x.shape[1]
        if d not in self._matrices:
            self._matrices[d] = _KINDS[self.kind](d, self.bits, self.seed)
        out = np.empty((len(x), self.bits), np.int8)
        for start in range(0, len(x), _BLOCK):
            out[start : start + _BLOCK] = signs_of(x[start : start + _BLOCK].astype(np.float64) @ self._matrices[d])
        return out

    def bytes_per_vector(self, width: int) -> int:
        """Return the bytes of one vector's packed signs."""
        return bit_bytes(width)


METHOD = SimHash
