"""abtt(top): all-but-the-top, removes the mean and the strongest directions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from hengyu.base.errors import WrongSize
from hengyu.methods.base import Floats
from hengyu.methods.fitted import MomentTransform
from hengyu.numerics.moments import Moments

__all__ = ["METHOD", "AllButTheTop"]


@dataclass
class AllButTheTop(MomentTransform):
    """Subtracts the mean and the projection onto the ``top`` principal axes; (n, d) to (n, d).

    Mu and Viswanath, All-but-the-Top, ICLR 2018; they advise top = d / 100.
    """

    top: int = 1
    mean: Floats = field(init=False, repr=False)
    axes: Floats = field(init=False, repr=False)

    affine = True

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"abtt(top={self.top}) must remove at least 1 direction; center removes none")

    def fit_moments(self, moments: Moments) -> Self:
        """Learn mean and axes from moments; raises `WrongSize` if nothing would be left."""
        if self.top >= len(moments.mean):
            raise WrongSize(f"top={self.top} leaves nothing of the {len(moments.mean)} dimensions the vectors have")
        self.mean = moments.mean
        self.axes = moments.spectrum.vectors[:, : self.top]
        return self

    def __call__(self, x: Floats) -> Floats:
        """Return the rows of x (n, d) without mean and top axes."""
        centred = x - self.mean
        return centred - (centred @ self.axes) @ self.axes.T


METHOD = AllButTheTop
