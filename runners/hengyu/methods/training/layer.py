"""A linear layer after a model in training, which starts as the whitening of the training sentences."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.transforms.whitening import Whitening
from hengyu.numerics.affine import affine_of
from hengyu.numerics.moments import Moments, tree

__all__ = ["whitening_layer"]

_BLOCK = 4096  # sentences whose vectors are held at once


def whitening_layer(trainable: TrainableEncoder, training_data: TrainingData, whitening: Whitening) -> nn.Linear:
    """Return the layer (d to k) that whitens the vectors of the opened model for the training sentences, repeats counted.

    Raises `WrongSize` for more columns than the vectors have, and `Degenerate` where all vectors are the same.
    """
    counts = training_data.counts
    rows = trainable.tokens(training_data.texts[: len(counts)])
    parts = (
        Moments.of(trainable.vectors(rows[at : at + _BLOCK]), counts[at : at + _BLOCK])
        for at in range(0, len(rows), _BLOCK)
    )
    moments = tree(parts)
    assert moments is not None
    affine = affine_of(whitening.fit_moments(moments), trainable.width)
    assert affine is not None
    layer = nn.Linear(*affine.weight.shape)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(affine.weight.T)))
        layer.bias.copy_(torch.from_numpy(affine.bias))
    return layer.to(trainable.device)
