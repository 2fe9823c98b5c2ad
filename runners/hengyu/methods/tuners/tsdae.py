"""tsdae(lr, batch, epochs, delete, ...): a sentence is told again from the vector of what is left of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.tuner import FineTuner

if TYPE_CHECKING:
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["METHOD", "Tsdae"]


@dataclass
class Tsdae(FineTuner):
    """Trains the encoder to put into one vector what a decoder needs to write the whole sentence; no labels.

    Wang et al., TSDAE: Using Transformer-based Sequential Denoising Auto-Encoder (EMNLP 2021 findings, arXiv:2104.06979), by
    sentence-transformers' loss: ``delete`` of the tokens fall out; the decoder is the same model, its weights tied, with
    attention to the vector alone, which starts at random and is forgotten afterwards. Defaults as in the paper (batch 8,
    learning rate 3e-5, 60 % deleted), which trained for 100,000 steps: give ``sentences=0`` and several ``epochs``.
    ``decoder_lr`` is the rate of what the decoder has for itself, and does not decay (0 for ``lr``).
    """

    lr: float = 3e-5
    batch: int = 8
    dropout: float = 0.1
    delete: float = 0.6
    decoder_lr: float = 0.0

    limits = {"delete": (0, 0.9), "decoder_lr": (0, 1)}

    def make(self, trainee: TrainableEncoder, lesson: TrainingData) -> Any:
        """Return the objective of a lesson; raises ValueError for a model that cannot be a decoder."""
        from hengyu.methods.training.denoising import Denoised

        return Denoised(trainee, lesson, self, delete=self.delete, decoder_lr=self.decoder_lr)


METHOD = Tsdae
