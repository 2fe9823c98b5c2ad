"""sbert(lr, batch, epochs, loss, ...): training on labels by classification, or by regression of the cosine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.tuner import FineTuner

if TYPE_CHECKING:
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "SBert"]


@dataclass
class SBert(FineTuner):
    """Trains the encoder on labelled pairs, like Sentence-BERT (Reimers and Gurevych, EMNLP 2019, arXiv:1908.10084).

    ``loss``: ``classify``, a softmax over [u, v, |u - v|] (the layer is discarded afterwards); ``regress``, the squared error
    of the cosine to the label on 0..1; ``auto``, the former for labels of 0 and 1, the latter for grades. Defaults: batch
    32, learning rate 2e-5, 5 epochs, as in Su's comparison with CoSENT (kexue.fm 8847). Learns from labels: ``fit_on`` must
    name a split that is not evaluated.
    """

    lr: float = 2e-5
    batch: int = 32
    epochs: int = 5
    sentences: int = 0  # pairs, here
    dropout: float = 0.1
    loss: str = "auto"

    labelled = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss not in ("auto", "classify", "regress"):
            raise ValueError(f"sbert(loss={self.loss}) must be auto, classify or regress")

    @property
    def fixed_width(self) -> str:
        """The layer of its classifier."""
        return "its classifier" if self.loss == "classify" else ""

    def make(self, trainable: TrainableEncoder, training_data: TrainingData) -> Any:
        """Return the objective of the training data."""
        from hengyu.methods.training.supervised import CosineSimilarityLoss, SoftmaxLoss

        assert training_data.pairs is not None
        classify = self.loss == "classify" or (self.loss == "auto" and training_data.pairs.binary)
        return (SoftmaxLoss if classify else CosineSimilarityLoss)(trainable, training_data, self)


METHOD = SBert
