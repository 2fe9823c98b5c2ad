"""The objective of distillation: a teacher's vectors of the training sentences, and the cosines between them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hengyu.methods.training.config import TrainingConfig
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.losses import embed_distill, relational
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.training.objectives import Rows, Sentences
from hengyu.methods.training.readers import ReadEncoder
from hengyu.numerics.imitation import fit_space, turned

__all__ = ["EmbedDistillLoss"]

Ids = NDArray[np.int64]


class EmbedDistillLoss(Sentences):
    """Vectors are to come near the teacher's; with ``similarity``, so are the cosines between the sentences of a batch.

    With ``align``, the targets are the teacher's vectors, centred, on as many principal axes as the student has columns, of
    length 1, and turned to the student's vectors before the first step. Otherwise they are the teacher's vectors.
    """

    def __init__(
        self,
        trainable: TrainableEncoder,
        training_data: TrainingData,
        recipe: TrainingConfig,
        teacher: ReadEncoder,
        *,
        distance_metric: str,
        similarity: float,
        align: bool,
    ) -> None:
        super().__init__(trainable, training_data, recipe)
        self.distance_metric, self.similarity = distance_metric, similarity
        targets = teacher.vectors(self.texts).astype(np.float32)
        if align:
            space = fit_space(targets, trainable.width)
            own = trainable.vectors(self.tokens)
            targets = turned(space, space(targets), own)(targets)
        elif distance_metric != "none" and targets.shape[1] != trainable.width:
            raise ValueError(
                f"{teacher.what} gives {targets.shape[1]} columns, and the encoder has {trainable.width}; set align=true or "
                "distance_metric=none"
            )
        self.targets = torch.from_numpy(np.ascontiguousarray(targets)).to(self.device)

    def rows(self, batch: Ids) -> Rows:
        """Return the sentences of a batch."""
        return [self.tokens[int(i)] for i in batch]

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the distance of vectors (n, d) to the first d columns of the targets, plus that of the cosines."""
        targets = self.targets[torch.from_numpy(batch).to(self.device)]
        loss = vectors.new_zeros(())
        if self.distance_metric != "none":
            loss = loss + embed_distill(vectors, targets[:, : vectors.shape[1]], self.distance_metric)
        if self.similarity:
            loss = loss + self.similarity * relational(vectors, targets)
        return loss
