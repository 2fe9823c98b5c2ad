"""promptbert(lr, batch, epochs, other, ...): a template's [MASK] is the sentence's vector, minus the template's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hengyu.base.progress import Tick
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.tuner import FineTuner

if TYPE_CHECKING:
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "PromptBert"]


@dataclass
class PromptBert(FineTuner):
    """Trains the encoder contrastively on each sentence in two different templates; no labels.

    Jiang et al., PromptBERT (EMNLP 2022, arXiv:2201.04337). The first template is the encoder's prompt, and the pooling
    is ``mask``; the second is ``other``. The template's own vector, its [MASK] with masked [PAD] tokens in place of the
    sentence, is subtracted in training; the evaluated vectors are those of the prompt without subtraction, as in the
    paper.
    """

    dropout: float = 0.1
    batch: int = 32
    temperature: float = 0.05
    other: str = "“{text}”，这句话的意思是[MASK]。"

    limits = {"temperature": (1e-3, 10)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.other.count("{text}") != 1:
            raise ValueError(f"{self.name}(other={self.other}) must have {{text}} once, in place of the sentence")

    @property
    def fixed_width(self) -> str:
        """The template's own vector is subtracted."""
        return "the vector of its template"

    def make(self, trainable: TrainableEncoder, training_data: TrainingData) -> Any:
        """Return the objective of the training data."""
        from hengyu.methods.training.prompts import Templates

        return Templates(trainable, training_data, self, self.temperature, self.other)

    def tune(self, trainable: TrainableEncoder, training_data: TrainingData, tick: Tick) -> None:
        """Train on the sentences of the training data; raises ValueError for any pooling but ``mask``."""
        if trainable.pooling != "mask":
            raise ValueError(f"{self.name} reads the vector at its prompt's [MASK]; use the pooling 'mask'")
        super().tune(trainable, training_data, tick)


METHOD = PromptBert
