"""simsiam(lr, predictor_lr, ...): two dropout passes predicted from each other, no negatives, a stopped gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.tuner import FineTuner

if TYPE_CHECKING:
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "SimSiam"]


@dataclass
class SimSiam(FineTuner):
    """Trains the encoder to predict one dropout pass of a sentence from another; no labels, no negatives.

    Chen and He, Exploring Simple Siamese Representation Learning (CVPR 2021, arXiv:2011.10566), on sentences. A
    ``predictor`` with one hidden layer is on one side; the gradient is stopped on the other. Without the predictor
    (``hidden=0``) or the stop (``stop=false``) all sentences may collapse to one vector, which the effective rank and the
    uniformity in the training curve show. So they may if the predictor, random at first, learns too slowly:
    ``predictor_lr`` is its own learning rate, without decay, as in the paper (section 3; 0 for ``lr``).
    """

    hidden: int = 128
    predictor_lr: float = 0.0
    stop: bool = True

    limits = {"hidden": (0, 65536), "predictor_lr": (0, 1)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.dropout:
            raise ValueError("simsiam(dropout=0) makes the two passes of a sentence the same; set dropout")

    @property
    def fixed_width(self) -> str:
        """The predictor."""
        return "its predictor" if self.hidden else ""

    def make(self, trainable: TrainableEncoder, training_data: TrainingData) -> Any:
        """Return the objective of the training data."""
        from hengyu.methods.training.objectives import Siamese

        return Siamese(trainable, training_data, self, self.hidden, stop=self.stop, heads_lr=self.predictor_lr)


METHOD = SimSiam
