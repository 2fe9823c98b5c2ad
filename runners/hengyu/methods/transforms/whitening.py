"""whitening(dim, beta, gamma, shrink): BERT-whitening, its two-parameter form, and shrinkage for few rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from hengyu.base.errors import Degenerate
from hengyu.methods.base import Floats
from hengyu.methods.spectral import SpectralTransform
from hengyu.numerics.moments import FLOOR, Moments, Spectrum
from hengyu.numerics.sample import Sample
from hengyu.numerics.shrinkage import ledoit_wolf

__all__ = ["METHOD", "Whitening"]

_LEDOIT_WOLF = "ledoit-wolf"


@dataclass
class Whitening(SpectralTransform):
    """Maps x to (x - beta mean) U diag(s)^(-gamma/2), first ``dim`` columns; (n, d) to (n, k).

    U and s are eigenvectors and eigenvalues (descending) of the covariance about beta times the mean. beta = gamma = 1 is
    whitening as published (Su et al., Whitening Sentence Representations for Better Semantics and Faster Retrieval,
    arXiv:2103.15316: covariance, SVD, W = U diag(1/sqrt(s)), first k columns); other values are those of Su's post 9079, where
    beta = gamma = 0 is a rotation.

    Directions whose eigenvalue is below ``floor`` times the largest are only rounding noise and are left out, so the result
    may have fewer than ``dim`` columns; ``floor=0`` keeps every positive one, like the published code.

    ``shrink`` moves the covariance towards a multiple of the identity: its eigenvalues become (1 - shrink) s + shrink
    mean(s). ``shrink=ledoit-wolf`` estimates the best weight from the rows (Ledoit, Wolf, A well-conditioned estimator for
    large-dimensional covariance matrices, 2004). ``solver=randomized`` keeps the first ``sketch`` axes at most and finds them
    by ``passes`` passes over the rows, for wide vectors (Halko, Martinsson, Tropp, Finding structure with randomness,
    arXiv:0909.4061; Su, kexue.fm 8706).
    """

    beta: float = 1.0
    gamma: float = 1.0
    floor: float = FLOOR
    shrink: float | str = 0.0
    _shift: float = field(init=False, repr=False, default=0.0)  # what shrinkage adds to every eigenvalue
    _scale: float = field(init=False, repr=False, default=1.0)  # what it multiplies them by

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.floor < 1:
            raise ValueError(f"whitening(floor={self.floor}) must lie in [0, 1)")
        if not (np.isfinite(self.beta) and np.isfinite(self.gamma)):
            raise ValueError("whitening(beta, gamma) must be finite numbers")
        given = self.shrink
        if given != _LEDOIT_WOLF if isinstance(given, str) else not 0 <= given <= 1:
            raise ValueError(f"whitening(shrink={given}) must be a number in 0..1, or {_LEDOIT_WOLF}")
        if self.beta != 1 and self.solver != "exact":
            raise ValueError("whitening(beta) other than 1 is not possible with solver=randomized; use exact")
        if given and self.solver != "exact":
            raise ValueError(
                "whitening(shrink) needs all eigenvalues, which solver=randomized does not find; use exact"
            )

    def fit_rows(self, sample: Sample, moments: Callable[[], Moments]) -> Self:
        """Learn from rows; raises `WrongSize` when ``dim`` exceeds d."""
        if self.shrink == _LEDOIT_WOLF:
            found = moments()
            return self._fit(found, ledoit_wolf(found, sample))
        return super().fit_rows(sample, moments)

    def fit_moments(self, moments: Moments) -> Self:
        """Learn from moments, where no weight has to be estimated; raises `WrongSize` when ``dim`` exceeds d."""
        if isinstance(self.shrink, str):
            raise ValueError(f"whitening(shrink={self.shrink}) is fitted on rows, not on their moments alone")
        return self._fit(moments, self.shrink)

    def _fit(self, moments: Moments, weight: float) -> Self:
        if self.beta != 1:
            off = (1 - self.beta) * moments.mean
            moments = replace(moments, scatter=moments.scatter + moments.count * np.outer(off, off))
        self._scale = 1 - weight
        self._shift = weight * float(np.trace(moments.covariance)) / len(moments.mean)
        return super().fit_moments(moments)

    def axes(self, spectrum: Spectrum) -> Floats:
        """Return the eigenvectors, scaled; raises `Degenerate` when no direction varies."""
        values = spectrum.values
        if self._shift:
            values = self._scale * values.clip(0) + self._shift
        rank = Spectrum(values, spectrum.vectors).rank(self.floor)
        if rank == 0:
            raise Degenerate("it is fitted on vectors that are all the same, so there is nothing to whiten")
        keep = min(rank, self.dim or rank)
        return spectrum.vectors[:, :keep] * values[:keep] ** (-self.gamma / 2)

    def __call__(self, x: Floats) -> Floats:
        """Return the whitened rows (n, k) of x (n, d)."""
        return (x - self.beta * self.mean) @ self.matrix


METHOD = Whitening
