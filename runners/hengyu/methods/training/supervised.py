"""The objectives of the methods that learn from labelled pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, mse_loss

from hengyu.base.errors import Degenerate
from hengyu.methods.training.config import TrainingConfig
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.losses import angle, cosent, info_nce
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.training.objectives import layer_on_top
from hengyu.methods.training.triples import Triples

__all__ = [
    "AnglELoss",
    "CoSENTLoss",
    "CosineSimilarityLoss",
    "PairObjective",
    "SoftmaxLoss",
    "SupervisedSimCseLoss",
    "TripleObjective",
]

Ids = NDArray[np.int64]


class PairObjective:
    """An objective on labelled pairs, drawn from the training data and tokenised once."""

    heads: Sequence[nn.Module] = ()
    heads_lr = 0.0

    def __init__(self, trainable: TrainableEncoder, training_data: TrainingData, recipe: TrainingConfig) -> None:
        assert training_data.pairs is not None
        pairs = training_data.pairs
        if len(np.unique(pairs.labels)) < 2:
            raise Degenerate("all training labels are the same")
        order = np.random.default_rng([recipe.seed, 1]).permutation(len(pairs))
        kept = order[: recipe.sentences or len(order)]
        tokens = trainable.tokens(training_data.texts[: len(training_data.counts)])
        self.first = [tokens[int(i)] for i in pairs.first[kept]]
        self.second = [tokens[int(i)] for i in pairs.second[kept]]
        self.labels = torch.from_numpy(pairs.unit[kept].astype(np.float32)).to(trainable.device)
        self.size = len(kept)
        self.groups = None if pairs.groups is None else pairs.groups[kept]

    def rows(self, batch: Ids) -> list[list[int]]:
        """Return the first sentences of a batch, then the second."""
        return [self.first[int(i)] for i in batch] + [self.second[int(i)] for i in batch]

    def after(self, batch: Ids) -> None:
        """Nothing to update after a step."""


class CoSENTLoss(PairObjective):
    """CoSENT: cosines are trained to have the order of the labels."""

    def __init__(
        self, trainable: TrainableEncoder, training_data: TrainingData, recipe: TrainingConfig, scale: float
    ) -> None:
        super().__init__(trainable, training_data, recipe)
        self.scale = scale

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the CoSENT loss of a batch."""
        first, second = torch.split(vectors, len(batch))
        return cosent(first, second, self.labels[torch.from_numpy(batch)], self.scale)


class AnglELoss(CoSENTLoss):
    """AnglE: CoSENT's loss of a similarity whose gradient does not vanish where the cosine is near 1 or -1."""

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the AnglE loss of a batch."""
        first, second = torch.split(vectors, len(batch))
        return angle(first, second, self.labels[torch.from_numpy(batch)], self.scale)


class CosineSimilarityLoss(PairObjective):
    """Sentence-BERT's regression of the cosine to the label on 0..1."""

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the mean squared error of a batch."""
        first, second = torch.split(vectors, len(batch))
        return mse_loss(cosine_similarity(first, second), self.labels[torch.from_numpy(batch)])


class SoftmaxLoss(PairObjective):
    """Sentence-BERT's classification: a softmax over [u, v, |u - v|], one class per label."""

    def __init__(self, trainable: TrainableEncoder, training_data: TrainingData, recipe: TrainingConfig) -> None:
        super().__init__(trainable, training_data, recipe)
        values, self.classes = torch.unique(self.labels, return_inverse=True)
        self.head = nn.Linear(3 * trainable.width, len(values), bias=False).to(trainable.device)
        self.heads = [self.head]

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the cross-entropy of a batch's labels."""
        return cross_entropy(self.logits(vectors), self.classes[torch.from_numpy(batch)])

    def logits(self, vectors: Tensor) -> Tensor:
        """Return the scores (n, c) of the labels of pairs, given the vectors (2n, d) of their sentences."""
        first, second = vectors.chunk(2)
        found: Tensor = self.head(torch.cat([first, second, (first - second).abs()], dim=1))
        return found


class TripleObjective:
    """An objective on anchors, their positives and hard negatives, drawn from labelled pairs and tokenised once."""

    heads: Sequence[nn.Module] = ()
    heads_lr = 0.0

    def __init__(
        self,
        trainable: TrainableEncoder,
        training_data: TrainingData,
        recipe: TrainingConfig,
        *,
        positive: float,
        negative: float,
    ) -> None:
        assert training_data.pairs is not None
        rng = np.random.default_rng([recipe.seed, 1])
        self.triples = Triples.of(training_data.pairs, positive, negative, rng)
        self.numbers = rng.permutation(len(self.triples))[: recipe.sentences or None]
        self.size = len(self.numbers)
        groups, unit = training_data.pairs.groups, training_data.pairs.unit
        self.groups = None if groups is None else groups[unit >= positive][self.numbers]
        self.tokens = trainable.tokens(training_data.texts[: len(training_data.counts)])
        self.device = trainable.device

    def rows(self, batch: Ids) -> list[list[int]]:
        """Return the anchors of a batch, then the positives, then the hard negatives, if any."""
        at, of = self.numbers[batch], self.triples
        every = np.concatenate([of.anchors[at], of.positives[at], of.hard(at)])
        return [self.tokens[int(i)] for i in every]

    def parts(self, vectors: Tensor, batch: Ids) -> tuple[Tensor, Tensor, Tensor]:
        """Return the vectors of a batch's anchors (n, d), positives (n, d) and hard negatives (k, d)."""
        n = len(batch)
        anchors, positives, hard = torch.split(vectors, [n, n, len(vectors) - 2 * n])
        return anchors, positives, hard

    def after(self, batch: Ids) -> None:
        """Nothing to update after a step."""


class SupervisedSimCseLoss(TripleObjective):
    """Supervised SimCSE: positives have the same meaning; hard negatives of the batch are further negatives."""

    def __init__(
        self,
        trainable: TrainableEncoder,
        training_data: TrainingData,
        recipe: TrainingConfig,
        temperature: float,
        *,
        positive: float,
        negative: float,
        mlp: bool = False,
    ) -> None:
        super().__init__(trainable, training_data, recipe, positive=positive, negative=negative)
        self.temperature = temperature
        self.head = layer_on_top(trainable, mlp=mlp)
        self.heads = [self.head]

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the cross-entropy of each anchor's positive among all positives and hard negatives."""
        anchors, positives, hard = self.parts(self.head(vectors), batch)
        same = torch.from_numpy(self.triples.excused(self.numbers[batch])).to(self.device)
        return info_nce(anchors, positives, self.temperature, same=same, more=hard)
