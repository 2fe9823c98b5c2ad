"""rabitq(bits, seed): a random rotation, then 1 to 9 bits for each column, and two numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hengyu.methods.base import Code, Floats
from hengyu.methods.fitted import MomentTransform
from hengyu.numerics.moments import Moments
from hengyu.numerics.projections import draw
from hengyu.numerics.rabitq import MOST_BITS, grid
from hengyu.numerics.signs import bit_bytes

__all__ = ["METHOD", "Rabitq"]


@dataclass
class Rabitq(MomentTransform, Code):
    """Rotates rows at random around their mean and rounds them to a grid of ``bits`` bits a column; (n, d) to (n, d), float32.

    With the mean c, a rotation P and the grid point g nearest in angle to y = P (x - c), a code stands for ``P c + g |y|^2 / <g,
    y>``, but for its component along P c, which is that of x itself: the inner product of a vector with it is an unbiased estimate
    of that with x, whose error `hengyu theory rabitq` states. Gao, Long, RaBitQ, SIGMOD 2024; for several bits Gao et al., SIGMOD
    2025. Pairs are compared by the cosine of what both codes stand for. bits d / 8 + 8 bytes a vector: the bits, the factor of g
    and the component; mean and rotation are shared.
    """

    bits: int = 1
    seed: int = 0
    mean: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MOST_BITS:
            raise ValueError(f"rabitq(bits={self.bits}) must lie in 1..{MOST_BITS}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"rabitq(seed={self.seed}) must lie in 0..2^63")

    def fit_moments(self, moments: Moments) -> Self:
        """Learn the mean."""
        self.mean = moments.mean
        return self

    def __call__(self, x: Floats) -> NDArray[np.float32]:
        """Return what the codes of the rows of x (n, d) stand for, rotated."""
        d = x.shape[1]
        turn = draw("orthogonal", d, d, self.seed)
        y = np.asarray(turn(np.asarray(x, np.float64) - self.mean))
        points, _ = grid(y, self.bits)
        wide = points.astype(np.float64)
        product = np.einsum("nd,nd->n", wide, y)
        scale = np.divide(np.einsum("nd,nd->n", y, y), product, out=np.zeros(len(y)), where=product > 0)
        coded = wide * scale[:, None]
        centre = np.asarray(turn(self.mean[None]))[0]
        length = float(np.sqrt(centre @ centre))
        if length > 0:
            along = centre / length
            coded += ((y - coded) @ along)[:, None] * along
        found: NDArray[np.float32] = (coded + centre).astype(np.float32)
        return found

    def bytes_per_vector(self, width: int) -> int:
        """Return the bytes of one vector: the bits, and two numbers as float32."""
        return bit_bytes(width * self.bits) + 8


METHOD = Rabitq
