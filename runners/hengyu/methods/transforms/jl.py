"""jl(dim, kind, seed): a random projection that keeps lengths and inner products, whatever the vectors are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from hengyu.methods.base import Floats, Transform
from hengyu.numerics.projections import KINDS, MOST, Map, draw

__all__ = ["METHOD", "JL"]


@dataclass
class JL(Transform):
    """Maps x to x R with a random R for which E |x R|^2 = |x|^2; (n, d) to (n, dim).

    Johnson and Lindenstrauss, 1984: P(| |x R|^2 / |x|^2 - 1 | >= eps) <= 2 exp(-eps^2 dim / 8) for 0 < eps <= 1, so that
    the dimension needed for all of N vectors grows only with log N, not with d (``hengyu theory jl`` computes it).

    ``kind``: ``gaussian`` entries of variance 1/dim; ``rademacher`` entries +-1/sqrt(dim) (Achlioptas, 2003);
    ``orthogonal``, the first columns of a uniform rotation, times sqrt(d/dim), dim <= d; ``sparse``, with a share
    1/sqrt(d) of non-zero entries (Li, Hastie and Church, 2006; scikit-learn's); ``srht``, random signs, a fast
    Walsh-Hadamard transform, ``dim`` of its outputs (Ailon and Chazelle, 2006; Tropp, 2011), dim <= d padded to a power
    of two. The bound is proved for the first three; ``sparse`` needs a different constant and ``srht`` a log factor.
    """

    dim: int
    kind: str = "gaussian"
    seed: int = 0
    _maps: dict[int, Map] = field(init=False, repr=False, default_factory=dict)  # width d -> map, drawn at first use

    affine = True
    needs_fit = False

    def __post_init__(self) -> None:
        if not 1 <= self.dim <= MOST:
            raise ValueError(f"jl(dim={self.dim}) must lie in 1..{MOST}")
        if self.kind not in KINDS:
            raise ValueError(f"jl(kind={self.kind}) must be one of {', '.join(KINDS)}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"jl(seed={self.seed}) must lie in 0..2^63")

    def fit(self, x: Floats) -> Self:
        """Learn nothing: the draw depends only on the seed and the width."""
        return self

    def __call__(self, x: Floats) -> Floats:
        """Return the projected rows (n, dim) of x (n, d); raises `WrongSize` if ``kind`` has no such ``dim``."""
        d = x.shape[1]
        if d not in self._maps:
            self._maps[d] = draw(self.kind, d, self.dim, self.seed)
        floats = x if np.issubdtype(x.dtype, np.floating) else x.astype(np.float32)
        return self._maps[d](floats)


METHOD = JL
