"""whitening(dim, beta, gamma): BERT-whitening, and its two-parameter form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hengyu.base.errors import Degenerate
from hengyu.methods.base import Floats
from hengyu.methods.spectral import SpectralTransform
from hengyu.numerics.moments import FLOOR, Spectrum

__all__ = ["METHOD", "Whitening"]


@dataclass
class Whitening(SpectralTransform):
    """Maps x to (x - beta mean) U diag(s)^(-gamma/2), first ``dim`` columns; (n, d) to (n, k).

    U and s are eigenvectors and eigenvalues (descending) of the covariance. beta = gamma = 1 is whitening as published
    (Su et al., Whitening Sentence Representations for Better Semantics and Faster Retrieval, arXiv:2103.15316: covariance,
    SVD, W = U diag(1/sqrt(s)), first k columns); other values are those of Su's post 9079, where beta = gamma = 0 is a
    rotation.

    Directions whose eigenvalue is below ``floor`` times the largest are only rounding noise and are left out, so the result
    may have fewer than ``dim`` columns; ``floor=0`` keeps every positive one, like the published code.
    """

    beta: float = 1.0
    gamma: float = 1.0
    floor: float = FLOOR

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.floor < 1:
            raise ValueError(f"whitening(floor={self.floor}) must lie in [0, 1)")
        if not (np.isfinite(self.beta) and np.isfinite(self.gamma)):
            raise ValueError("whitening(beta, gamma) must be finite numbers")

    def axes(self, spectrum: Spectrum) -> Floats:
        """Return the eigenvectors, scaled; raises `Degenerate` when no direction varies."""
        rank = spectrum.rank(self.floor)
        if rank == 0:
            raise Degenerate("it is fitted on vectors that are all the same, so there is nothing to whiten")
        keep = min(rank, self.dim or rank)
        return spectrum.vectors[:, :keep] * spectrum.values[:keep] ** (-self.gamma / 2)

    def __call__(self, x: Floats) -> Floats:
        """Return the whitened rows (n, k) of x (n, d)."""
        return (x - self.beta * self.mean) @ self.matrix


METHOD = Whitening
