"""tsdae(lr, batch, epochs, delete, ...): reconstructs a sentence from the embedding of a corrupted copy."""

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
    """Trains the encoder so that a decoder can reconstruct the full sentence from one vector; no labels.

    Wang et al., TSDAE: Using Transformer-based Sequential Denoising Auto-Encoder (EMNLP 2021 findings, arXiv:2104.06979), by
    sentence-transformers' loss: the share ``delete`` of the tokens is removed; the decoder shares the model's weights, with
    additional attention to the vector only, which is initialised at random and discarded afterwards. Defaults as in the
    paper (batch 8, learning rate 3e-5, 60 % deleted), which trained for 100,000 steps: give ``sentences=0`` and several
    ``epochs``. ``decoder_lr`` is the learning rate of the decoder's own weights, without decay (0 for ``lr``).
    """

    lr: float = 3e-5
    batch: int = 8
    dropout: float = 0.1
    delete: float = 0.6
    decoder_lr: float = 0.0

    limits = {"delete": (0, 0.9), "decoder_lr": (0, 1)}

    @property
    def fixed_width(self) -> str:
        """The decoder."""
        return "its decoder"

    @property
    def beyond_weights(self) -> str:
        """The decoder, which shares the model's weights."""
        return "a decoder that shares the model's weights; leave lora out"

    def make(self, trainable: TrainableEncoder, training_data: TrainingData) -> Any:
        """Return the objective of the training data; raises ValueError if the model cannot be a decoder."""
        from hengyu.methods.training.denoising import DenoisingAutoEncoderLoss

        return DenoisingAutoEncoderLoss(trainable, training_data, self, delete=self.delete, decoder_lr=self.decoder_lr)


METHOD = Tsdae
