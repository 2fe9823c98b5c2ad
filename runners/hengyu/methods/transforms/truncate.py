"""truncate(dim): the first dim columns, as intended for Matryoshka models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from hengyu.base.errors import WrongSize
from hengyu.methods.base import Floats, Transform

__all__ = ["METHOD", "Truncate"]


@dataclass
class Truncate(Transform):
    """Keeps the first ``dim`` columns; (n, d) to (n, dim). Without ``dim`` it keeps all columns.

    Kusupati et al., Matryoshka Representation Learning, NeurIPS 2022.
    """

    dim: int | None = None

    affine = True
    needs_fit = False
    nested = True

    def __post_init__(self) -> None:
        if self.dim is not None and self.dim < 1:
            raise ValueError(f"truncate(dim={self.dim}) must keep at least 1 column")

    def fit(self, x: Floats) -> Self:
        """Learn nothing."""
        return self

    def __call__(self, x: Floats) -> Floats:
        """Return the first ``dim`` columns of x (n, d); raises `WrongSize` if there are fewer."""
        if self.dim is not None and self.dim > x.shape[1]:
            raise WrongSize(f"dim={self.dim} is larger than the {x.shape[1]} the vectors have")
        return x[:, : self.dim]


METHOD = Truncate
