"""p-tuning(lr, batch, epochs, other, freeze, ...): a template's own tokens learned as vectors; [MASK] is the sentence's."""

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
    """Trains as promptbert, but what is learned is the template: its tokens become vectors of their own; no labels.

    Liu et al., GPT Understands, Too (arXiv:2103.10385), for sentence vectors as in PromptBERT's continuous templates (Jiang
    et al., EMNLP 2022, arXiv:2201.04337). In the place of each token of the encoder's prompt but [MASK] stands a
    new one, [P1], [P2], ..., that starts from its word embedding. With ``freeze`` these are all that is trained, so that ``lr`` is
    higher than a model's; without it the model is trained along. ``other`` is the second template of the contrast, and
    stays as it is written. The pooling is ``mask``.
    """

    lr: float = 1e-3
    freeze: bool = True

    def make(self, trainee: TrainableEncoder, lesson: TrainingData) -> Any:
        """Put the new tokens into the prompt, then contrast the templates."""
        from hengyu.methods.training.learned import learn_template

        learn_template(trainee, alone=self.freeze)
        return super().make(trainee, lesson)


METHOD = PTuning
