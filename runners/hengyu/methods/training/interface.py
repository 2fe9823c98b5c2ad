"""What the training loop asks of an objective, and one that wraps another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Ids", "Objective", "ObjectiveWrapper", "Rows"]

Ids = NDArray[np.int64]
Rows = Sequence[Sequence[int]]


class Objective(Protocol):
    """A method's objective on batches of examples, which are numbered 0..size."""

    size: int
    heads: Sequence[nn.Module]  # trained with the model and then discarded
    heads_lr: float  # the heads' learning rate, without decay; 0 for the recipe's
    groups: Ids | None  # (size,) the card of each example, where they are of several: a batch is of one

    def rows(self, batch: Ids) -> Rows:
        """Return the token ids to embed."""

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the loss of their vectors, without side effects."""

    def after(self, batch: Ids) -> None:
        """Update after a step."""


class ObjectiveWrapper:
    """An objective that has another one's rows and heads; its class says what becomes of the loss."""

    def __init__(self, inner: Objective) -> None:
        self.inner = inner
        self.size, self.heads, self.heads_lr, self.groups = inner.size, inner.heads, inner.heads_lr, inner.groups

    def rows(self, batch: Ids) -> Rows:
        """Return the rows of the objective inside."""
        return self.inner.rows(batch)

    def after(self, batch: Ids) -> None:
        """Update the objective inside after a step."""
        self.inner.after(batch)
