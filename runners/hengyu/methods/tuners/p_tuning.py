"""p-tuning(lr, batch, epochs, other, freeze, ...): learns the tokens of a template as vectors; [MASK] is the sentence's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hengyu.methods.tuners.promptbert import PromptBert

if TYPE_CHECKING:
    from hengyu.methods.training.data import TrainingData
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "PTuning"]


@dataclass
class PTuning(PromptBert):
    """Trains like promptbert, but learns the template: its tokens become trainable vectors; no labels.

    Liu et al., GPT Understands, Too (arXiv:2103.10385), for sentence vectors as in PromptBERT's continuous templates (Jiang
    et al., EMNLP 2022, arXiv:2201.04337). Each token of the encoder's prompt except [MASK] is replaced by a
    new one, [P1], [P2], ..., that starts from the same word embedding. With ``freeze`` only these are trained, with a higher
    ``lr`` than a model's; without it the model is trained too. ``other`` is the second template of the contrast, and is not
    learned. The pooling is ``mask``.
    """

    lr: float = 1e-3
    freeze: bool = True

    @property
    def beyond_weights(self) -> str:
        """The new tokens."""
        return "tokens of the prompt; leave lora out"

    def make(self, trainable: TrainableEncoder, training_data: TrainingData) -> Any:
        """Put the new tokens into the prompt, then contrast the templates."""
        from hengyu.methods.training.learned import learn_template

        learn_template(trainable, alone=self.freeze)
        return super().make(trainable, training_data)


METHOD = PTuning
