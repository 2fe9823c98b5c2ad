"""The objectives of cross-encoders on labelled pairs, and what looks at one in training."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from hengyu.base.errors import Degenerate
from hengyu.methods.training.config import TrainingConfig
from hengyu.methods.training.curve import TrainingMonitor
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.losses import ranked
from hengyu.methods.training.pair_model import TrainablePairEncoder
from hengyu.methods.training.supervised import PairObjective
from hengyu.numerics.metrics import spearman

__all__ = ["BinaryCrossEntropyLoss", "JointCoSENTLoss", "JointMonitor"]

Ids = NDArray[np.int64]


class _Joint(PairObjective):
    """An objective on pairs that are read together: a row is a pair."""

    def __init__(self, trainable: TrainablePairEncoder, training_data: TrainingData, recipe: TrainingConfig) -> None:
        super().__init__(trainable, training_data, recipe)
        self.model = trainable
        trainable.add_head()

    def rows(self, batch: Ids) -> list[list[int]]:
        """Return the pairs of a batch."""
        return [self.model.join(self.first[int(i)], self.second[int(i)]) for i in batch]


class BinaryCrossEntropyLoss(_Joint):
    """sentence-transformers' loss of the same name: labels on 0..1 are the probabilities that a score should give."""

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the mean binary cross-entropy of a batch's scores."""
        wanted = self.labels[torch.from_numpy(batch)]
        return binary_cross_entropy_with_logits(self.model.logits(vectors), wanted)

    def logits(self, vectors: Tensor) -> Tensor:
        """Return the logits (n, 2) of the labels 0 and 1 of a batch's pairs."""
        found = self.model.logits(vectors)
        return torch.stack([torch.zeros_like(found), found], dim=1)


class JointCoSENTLoss(_Joint):
    """CoSENT's loss of scores in the place of cosines: they are trained to have the order of the labels."""

    def __init__(
        self, trainable: TrainablePairEncoder, training_data: TrainingData, recipe: TrainingConfig, scale: float
    ) -> None:
        super().__init__(trainable, training_data, recipe)
        self.scale = scale

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the CoSENT loss of a batch's scores."""
        return ranked(self.scale * self.model.logits(vectors), self.labels[torch.from_numpy(batch)])


class JointMonitor(TrainingMonitor):
    """Evaluates a cross-encoder in training: there are no vectors, so it has the held-out Spearman alone."""

    def figures(self) -> dict[str, float]:
        """Return the Spearman of the held-out pairs, where there are any."""
        model, pairs = self.trainable, self.pairs
        if pairs is None or not isinstance(model, TrainablePairEncoder):
            return {}
        joined = [model.join(a, b) for a, b in zip(self.held[: len(pairs)], self.held[len(pairs) :], strict=True)]
        with suppress(Degenerate):
            return {"held_out_spearman": spearman(model.scores(joined), pairs.labels)}
        return {}
