"""esimcse(lr, batch, epochs, repeat, queue, ...): SimCSE with repeated words in positives and a queue of negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.tuner import FineTuner

if TYPE_CHECKING:
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "ESimCse"]


@dataclass
class ESimCse(FineTuner):
    """Trains like simcse, but positives repeat some tokens, so that length gives no hint; no labels.

    Wu et al., ESimCSE: Enhanced Sample Building Method (COLING 2022, arXiv:2109.04380). Of n tokens of a sentence 0 to
    max(2, ``repeat`` n) are repeated. Vectors of the last ``queue`` batches, by a slowly updated copy of the model
    (``momentum``), are further negatives.
    """

    temperature: float = 0.05
    repeat: float = 0.32
    queue: float = 2.5
    momentum: float = 0.995
    mlp: bool = False

    limits = {"temperature": (1e-3, 10), "repeat": (0, 1), "queue": (0, 1000), "momentum": (0, 1)}

    @property
    def fixed_width(self) -> str:
        """The layer of ``mlp``."""
        return "the layer of mlp" if self.mlp else ""

    def make(self, trainable: TrainableEncoder, training_data: TrainingData) -> Any:
        """Return the objective of the training data."""
        from hengyu.methods.training.objectives import Repetitions

        return Repetitions(
            trainable,
            training_data,
            self,
            self.temperature,
            rate=self.repeat,
            queue=self.queue,
            momentum=self.momentum,
            mlp=self.mlp,
        )


METHOD = ESimCse
