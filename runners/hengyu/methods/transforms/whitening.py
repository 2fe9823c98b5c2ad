"""whitening(dim, beta, gamma): BERT-whitening, and its two-parameter form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from hengyu.base.errors import Degenerate, WrongSize
from hengyu.methods.base import Floats
from hengyu.methods.fitted import MomentTransform
from hengyu.numerics.moments import FLOOR, Moments

__all__ = ["METHOD", "Whitening"]


@dataclass
class Whitening(MomentTransform):
    """Maps x to (x - beta mean) U diag(s)^(-gamma/2), first ``dim`` columns; (n, d) to (n, k).

    U and s are eigenvectors and eigenvalues (descending) of the covariance. beta = gamma = 1 is whitening as published
    (Su et al., Whitening Sentence Representations for Better Semantics and Faster Retrieval, arXiv:2103.15316: covariance,
    SVD, W = U diag(1/sqrt(s)), first k columns); other values are those of Su's post 9079, where beta = gamma = 0 is a
    rotation.

    Directions whose eigenvalue is below ``floor`` times the largest are only rounding noise and are left out, so the result
    may have fewer than ``dim`` columns; ``floor=0`` keeps every positive one, like the published code.
    """

    dim: int | None = None
    beta: float = 1.0
    gamma: float = 1.0
    floor: float = FLOOR
    mean: Floats = field(init=False, repr=False)
    matrix: Floats = field(init=False, repr=False)

    affine = True
    nested = True

    def __post_init__(self) -> None:
        if self.dim is not None and self.dim < 1:
            raise ValueError(f"whitening(dim={self.dim}) must keep at least 1 column")
        if not 0 <= self.floor < 1:
            raise ValueError(f"whitening(floor={self.floor}) must lie in [0, 1)")
        if not (np.isfinite(self.beta) and np.isfinite(self.gamma)):
            raise ValueError("whitening(beta, gamma) must be finite numbers")

    def fit_moments(self, moments: Moments) -> Self:
        """Learn mean and axes from moments; raises `WrongSize` if ``dim`` exceeds d, `Degenerate` if no direction varies."""
        spectrum = moments.spectrum
        if self.dim is not None and self.dim > len(spectrum.values):
            raise WrongSize(f"dim={self.dim} is larger than the {len(spectrum.values)} the vectors have")
        rank = spectrum.rank(self.floor)
        if rank == 0:
            raise Degenerate("it is fitted on vectors that are all the same, so there is nothing to whiten")
        keep = min(rank, self.dim or rank)
        self.mean = moments.mean
        self.matrix = spectrum.vectors[:, :keep] * spectrum.values[:keep] ** (-self.gamma / 2)
        return self

    def __call__(self, x: Floats) -> Floats:
        """Return the whitened rows (n, k) of x (n, d)."""
        return (x - self.beta * self.mean) @ self.matrix


METHOD = Whitening
