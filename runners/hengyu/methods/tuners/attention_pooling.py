"""attention-pooling(TUNER, rate): another tuner's training, with a learned query that weighs the tokens of the mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from hengyu.methods.training.tuner import TunerWrapper

if TYPE_CHECKING:
    from hengyu.methods.training.data import TrainingData
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "AttentionPooling"]


@dataclass
class AttentionPooling(TunerWrapper):
    r"""Trains with another tuner's loss a query that weighs the tokens of the mean, together with the model.

    The vector of a sentence is $\sum_i a_i h_i$ with $a_i = e^{q \cdot h_i} / \sum_j e^{q \cdot h_j}$ over the states $h$ of its
    tokens, as in Yang et al., Hierarchical Attention Networks (NAACL 2016), without the layer before the product. The query $q$
    is 0 at first, which is the plain mean. Written `attention-pooling(cosent(lr=2e-4))`, for the pooling ``mean``.

    * ``rate``: the query learns with so many times the learning rate of the model.

    The result is a folder of sentence-transformers with a module of Hengyu's, read as its ``native`` vectors. Learns what the
    tuner inside learns from.
    """

    rate: float = 10.0

    def __post_init__(self) -> None:
        if not 1e-3 <= self.rate <= 1e4:
            raise ValueError(f"attention-pooling(rate={self.rate:g}) must lie in 0.001..10000")

    def around(self, inner: Any) -> Self:
        """Set the tuner inside; raises ValueError for one whose layer comes after the pooling."""
        super().around(inner)
        if "whitening-layer" in self.wrapped:
            raise ValueError(
                "attention-pooling comes before the layer of whitening-layer; write whitening-layer(attention-pooling(...))"
            )
        return self

    def prepare(self, trainable: TrainableEncoder, training_data: TrainingData) -> None:
        """Add the query to the opened model; raises ValueError for a pooling that is not the mean of the last states."""
        import torch

        from hengyu.encoders.attention import TokenAttention

        if trainable.read != "mean":
            raise ValueError(
                f"attention-pooling weighs the tokens of the pooling mean, and this is '{trainable.read}'; use mean"
            )
        trainable.attention = TokenAttention(torch.zeros(trainable.width), self.rate).to(trainable.device)


METHOD = AttentionPooling
