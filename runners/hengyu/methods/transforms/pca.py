"""pca(dim): the principal components of the centred vectors, not rescaled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from hengyu.base.errors import WrongSize
from hengyu.methods.base import Floats
from hengyu.methods.fitted import MomentTransform
from hengyu.numerics.moments import Moments

__all__ = ["METHOD", "PCA"]


@dataclass
class PCA(MomentTransform):
    """Centres the rows and rotates them onto the first ``dim`` principal axes; (n, d) to (n, dim).

    At full dimension its cosines equal those of ``center``. Pearson, 1901; equals scikit-learn's ``PCA`` up to signs.
    """

    dim: int | None = None
    mean: Floats = field(init=False, repr=False)
    matrix: Floats = field(init=False, repr=False)

    affine = True
    nested = True

    def __post_init__(self) -> None:
        if self.dim is not None and self.dim < 1:
            raise ValueError(f"pca(dim={self.dim}) must keep at least 1 column")

    def fit_moments(self, moments: Moments) -> Self:
        """Learn mean and axes from moments; raises `WrongSize` if ``dim`` exceeds d."""
        if self.dim is not None and self.dim > len(moments.mean):
            raise WrongSize(f"dim={self.dim} is larger than the {len(moments.mean)} the vectors have")
        self.mean = moments.mean
        self.matrix = moments.spectrum.vectors[:, : self.dim]
        return self

    def __call__(self, x: Floats) -> Floats:
        """Return the components (n, k) of the rows of x (n, d)."""
        return (x - self.mean) @ self.matrix


METHOD = PCA
