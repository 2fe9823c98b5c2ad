"""cosent(lr, batch, epochs, scale, ...): training on labels so that cosines get the order of the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.tuner import FineTuner

if TYPE_CHECKING:
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "CoSent"]


@dataclass
class CoSent(FineTuner):
    """Trains the encoder on labelled pairs: a pair with a higher label should have a higher cosine.

    Su, CoSENT (kexue.fm 8847): log(1 + sum exp(scale (cos_j - cos_i))) over the pairs i above j of a batch; defaults as
    in its code (batch 32, learning rate 2e-5, 5 epochs, scale 20), dropout as in BERT. Learns from labels: ``fit_on`` must
    name a split that is not evaluated.
    """

    lr: float = 2e-5
    batch: int = 32
    epochs: int = 5
    sentences: int = 0  # pairs, here
    dropout: float = 0.1
    scale: float = 20.0

    labelled = True
    limits = {"scale": (1e-3, 1000)}

    def make(self, trainable: TrainableEncoder, training_data: TrainingData) -> Any:
        """Return the objective of the training data."""
        from hengyu.methods.training.supervised import CoSENTLoss

        return CoSENTLoss(trainable, training_data, self, self.scale)


METHOD = CoSent
