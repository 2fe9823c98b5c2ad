"""R-Drop: two dropout passes of a batch, and the divergence between what they say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from hengyu.methods.training.interface import Objective, ObjectiveWrapper
from hengyu.methods.training.losses import symmetric_kl
from hengyu.methods.training.supervised import SoftmaxLoss

__all__ = ["RDropLoss", "in_batch_logits"]

Ids = NDArray[np.int64]
_NEVER = -1e9  # a logit that adds nothing to a softmax; with infinity the divergence would be NaN


def in_batch_logits(vectors: Tensor, n: int, scale: float) -> Tensor:
    """Return ``scale`` times the cosines (n, m) of the first n vectors to the m others, or to each other if there are none."""
    unit = normalize(vectors, dim=1)
    anchors, others = unit[:n], unit[n:]
    if len(others):
        return scale * anchors @ others.T
    return (scale * anchors @ anchors.T).masked_fill(torch.eye(n, dtype=torch.bool, device=unit.device), _NEVER)


class RDropLoss(ObjectiveWrapper):
    """The mean of an objective's losses in two dropout passes, plus ``alpha`` times the divergence of the two.

    The distributions are those of a classifier's labels; objectives without a classifier have that of each first sentence over
    the other sentences of the batch.
    """

    def __init__(self, inner: Objective, alpha: float, scale: float) -> None:
        super().__init__(inner)
        self.alpha, self.scale = alpha, scale

    def rows(self, batch: Ids) -> Sequence[Sequence[int]]:
        """Return the rows of the objective, twice."""
        rows = self.inner.rows(batch)
        return [*rows, *rows]

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the loss of a batch."""
        passes = vectors.chunk(2)
        loss = torch.stack([self.inner.loss(one, batch) for one in passes]).mean()
        first, second = (self.logits(one, len(batch)) for one in passes)
        return loss + self.alpha * symmetric_kl(first, second)

    def logits(self, vectors: Tensor, n: int) -> Tensor:
        """Return the logits (n, k) of one pass."""
        if isinstance(self.inner, SoftmaxLoss):
            return self.inner.logits(vectors)
        return in_batch_logits(vectors, n, self.scale)
