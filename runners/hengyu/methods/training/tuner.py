"""The base classes of methods that train the encoder."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hengyu.base.progress import Tick
from hengyu.methods.base import Method
from hengyu.methods.training.config import TrainingConfig
from hengyu.methods.training.data import TrainingData

if TYPE_CHECKING:
    from hengyu.methods.training.loop import Objective
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["FineTuner", "Tuner"]


class Tuner(Method):
    """Encoder to encoder: trains a model for one pooling on texts; the first step of an entry.

    Attributes:
        report: the training report, as JSON; the same for the same texts and seed.
    """

    category = "tuner"
    report: dict[str, Any]

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """Return every parameter by name, defaults included."""

    @abstractmethod
    def steps(self, training_data: TrainingData) -> int:
        """Return the number of training steps."""

    @abstractmethod
    def tune(self, trainable: TrainableEncoder, training_data: TrainingData, tick: Tick) -> None:
        """Train in place; raises ValueError or `Degenerate` if the data or the model is unsuitable."""


@dataclass
class FineTuner(TrainingConfig, Tuner):
    """A tuner trained by the shared loop; a method derives from it and defines its objective."""

    def steps(self, training_data: TrainingData) -> int:
        """Return the number of steps on the training data."""
        size = (
            len(training_data.pairs)
            if self.labelled and training_data.pairs is not None
            else int(training_data.counts.sum())
        )
        return self.total(min(size, self.sentences or size))

    @abstractmethod
    def make(self, trainable: TrainableEncoder, training_data: TrainingData) -> Objective:
        """Return the objective: the rows of a batch, and the loss of their vectors."""

    def tune(self, trainable: TrainableEncoder, training_data: TrainingData, tick: Tick) -> None:
        """Open the model, train it on the objective and keep the report.

        Raises ValueError or `Degenerate` if the training data or the model is unsuitable.
        """
        from hengyu.methods.training.loop import reproducible, train

        trainable.open(dropout=self.dropout, length=self.length, dtype=self.dtype)
        with reproducible(trainable, self.seed):
            self.report = train(trainable, self.make(trainable, training_data), training_data, self, tick)
        if trainable.tokenizer.added:
            self.report["prompt"] = trainable.tokenizer.folder.prompt
