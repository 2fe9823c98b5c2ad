"""The Matryoshka loss: another objective's loss at several widths of its vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from hengyu.methods.training.interface import Objective, ObjectiveWrapper

__all__ = ["MatryoshkaLoss"]

Ids = NDArray[np.int64]


class MatryoshkaLoss(ObjectiveWrapper):
    """The weighted sum of an objective's losses on the first columns of its vectors, each cut to length 1.

    Args:
        inner: the objective.
        dims: the numbers of columns.
        weights: those of their losses.
        n_dims_per_step: how many of them, drawn at random, a step has; -1 for all.
        seed: of the draws.
    """

    def __init__(
        self, inner: Objective, dims: Sequence[int], weights: Sequence[float], n_dims_per_step: int, seed: int
    ) -> None:
        super().__init__(inner)
        self.dims, self.weights = tuple(dims), tuple(weights)
        self.drawn = n_dims_per_step if 0 < n_dims_per_step < len(self.dims) else 0
        self.rng = np.random.default_rng([seed, 5])
        self._batch: Ids = np.zeros(0, np.int64)
        self._chosen = list(range(len(self.dims)))

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the weighted sum of the losses; the same batch has the same widths."""
        if self.drawn and self._batch is not batch:
            self._batch = batch
            self._chosen = sorted(self.rng.choice(len(self.dims), self.drawn, replace=False).tolist())
        parts = [
            self.weights[k] * self.inner.loss(normalize(vectors[:, : self.dims[k]], dim=-1), batch)
            for k in self._chosen
        ]
        return torch.stack(parts).sum()
