"""The base class of transforms onto the principal axes of the vectors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from hengyu.base.errors import WrongSize
from hengyu.methods.base import Floats
from hengyu.methods.fitted import MomentTransform
from hengyu.numerics.moments import Moments, Spectrum
from hengyu.numerics.sample import Sample
from hengyu.numerics.sketches import OVERSAMPLE, sketch_spectrum

__all__ = ["SpectralTransform"]


@dataclass
class SpectralTransform(MomentTransform):
    """Maps rows onto the first ``dim`` eigenvectors of their covariance, or onto all; what else it does its class says.

    ``solver=randomized`` finds the ``sketch`` strongest of them from ``passes`` passes over the rows, without the
    covariance itself (`hengyu.numerics.sketches`); the others are lost. The sketch is the same for every ``dim``. Vectors of
    at most sketch + 32 columns are solved exactly.
    """

    dim: int | None = None
    solver: str = field(default="exact", kw_only=True)
    sketch: int = field(default=256, kw_only=True)
    passes: int = field(default=4, kw_only=True)
    mean: Floats = field(init=False, repr=False)
    matrix: Floats = field(init=False, repr=False)

    affine = True
    nested = True

    def __post_init__(self) -> None:
        name = type(self).__name__.lower()
        if self.dim is not None and self.dim < 1:
            raise ValueError(f"{name}(dim={self.dim}) must keep at least 1 column")
        if self.solver not in ("exact", "randomized"):
            raise ValueError(f"{name}(solver={self.solver}) must be exact or randomized")
        if self.sketch < 1 or self.passes < 1:
            raise ValueError(f"{name}(sketch={self.sketch}, passes={self.passes}) must be at least 1")
        if self.solver == "randomized" and self.dim is not None and self.dim > self.sketch:
            raise ValueError(
                f"{name}(dim={self.dim}, solver=randomized) keeps more columns than the sketch finds, {self.sketch}; "
                f"add sketch={self.dim}"
            )

    @abstractmethod
    def axes(self, spectrum: Spectrum) -> Floats:
        """Return the columns (d, k) that centred rows are multiplied by."""

    def fit_moments(self, moments: Moments) -> Self:
        """Learn them from moments, always by the exact solver; raises `WrongSize` when ``dim`` exceeds d."""
        self._refuse_wide(len(moments.mean))
        self.mean = moments.mean
        self.matrix = self.axes(moments.spectrum)
        return self

    def fit_rows(self, sample: Sample, moments: Callable[[], Moments]) -> Self:
        """Learn them from rows: from their moments, or by passes over them. A sketch of all columns would save nothing."""
        width = sample.width
        if self.solver == "exact" or width <= self.sketch + OVERSAMPLE:
            return self.fit_moments(moments())
        self._refuse_wide(width)
        found = sketch_spectrum(sample, self.sketch, self.passes)
        self.mean = found.mean
        self.matrix = self.axes(found.spectrum)
        largest = float(found.spectrum.values[0])
        self.summary = {
            "n": int(found.count),
            "dim": width,
            "sketch": self.sketch,
            "explained": round(found.explained, 5),
            "error_bound": float(f"{found.bound / largest:.3g}") if largest > 0 else 0.0,
        }
        return self

    def _refuse_wide(self, width: int) -> None:
        if self.dim is not None and self.dim > width:
            raise WrongSize(f"dim={self.dim} is larger than the {width} the vectors have")
