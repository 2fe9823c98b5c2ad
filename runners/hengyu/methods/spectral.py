"""The base class of transforms onto the principal axes of the vectors."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Self

from hengyu.base.errors import WrongSize
from hengyu.methods.base import Floats
from hengyu.methods.fitted import MomentTransform
from hengyu.numerics.moments import Moments, Spectrum

__all__ = ["SpectralTransform"]


@dataclass
class SpectralTransform(MomentTransform):
    """Maps rows onto the first ``dim`` eigenvectors of their covariance, or onto all; what else it does its class says."""

    dim: int | None = None
    mean: Floats = field(init=False, repr=False)
    matrix: Floats = field(init=False, repr=False)

    affine = True
    nested = True

    def __post_init__(self) -> None:
        if self.dim is not None and self.dim < 1:
            raise ValueError(f"{type(self).__name__.lower()}(dim={self.dim}) must keep at least 1 column")

    @abstractmethod
    def axes(self, spectrum: Spectrum) -> Floats:
        """Return the columns (d, k) that centred rows are multiplied by."""

    def fit_moments(self, moments: Moments) -> Self:
        """Learn them from moments; raises `WrongSize` when ``dim`` exceeds d."""
        if self.dim is not None and self.dim > len(moments.mean):
            raise WrongSize(f"dim={self.dim} is larger than the {len(moments.mean)} the vectors have")
        self.mean = moments.mean
        self.matrix = self.axes(moments.spectrum)
        return self
