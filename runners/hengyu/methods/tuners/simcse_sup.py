"""simcse-sup(lr, batch, epochs, positive, negative, ...): contrastive training on labels, with hard negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hengyu.methods.training.choices import positives_of, refuse_shares
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.tuner import FineTuner

if TYPE_CHECKING:
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "SupervisedSimCse"]


@dataclass
class SupervisedSimCse(FineTuner):
    """Trains the encoder to match sentences with the same meaning, against the batch and a hard negative of each; uses labels.

    Gao et al., SimCSE (EMNLP 2021, arXiv:2104.08821), section 4. An example is a pair whose label is at least ``positive``,
    a share of the label scale; its hard negative comes from a pair with one of the two sentences that is labelled at most
    ``negative`` (one of several is drawn; ``hard=false`` for none). With a card of triples they are the entailment and the
    contradiction of a premise. Sentences with the same meaning as the anchor, by the labels, are not its negatives.
    Temperature, learning rate, epochs and dropout as in the paper; ``batch`` is 64 instead of 512, because a split may have
    only some thousand pairs. ``fit_on`` must name a split that is not evaluated.
    """

    lr: float = 5e-5
    epochs: int = 3
    sentences: int = 0  # here: positive pairs
    dropout: float = 0.1
    temperature: float = 0.05
    mlp: bool = False
    positive: float = 0.8
    negative: float = 0.2
    hard: bool = True

    labelled = True
    limits = {"temperature": (1e-3, 10)}

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_shares(self.name, self.positive, self.negative)

    def steps(self, training_data: TrainingData) -> int:
        """Return the number of steps on the positive pairs of the training data."""
        return self.total(positives_of(training_data, self.positive, self.sentences))

    @property
    def fixed_width(self) -> str:
        """The layer of ``mlp``."""
        return "the layer of mlp" if self.mlp else ""

    def make(self, trainable: TrainableEncoder, training_data: TrainingData) -> Any:
        """Return the objective of the training data."""
        from hengyu.methods.training.supervised import SupervisedSimCseLoss

        negative = self.negative if self.hard else -1.0
        return SupervisedSimCseLoss(
            trainable,
            training_data,
            self,
            self.temperature,
            positive=self.positive,
            negative=negative,
            mlp=self.mlp,
        )


METHOD = SupervisedSimCse
