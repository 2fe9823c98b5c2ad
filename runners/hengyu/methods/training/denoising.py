"""The objective of TSDAE: reconstruct sentences from the embeddings of corrupted copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hengyu.base.errors import first_line
from hengyu.methods.training.config import TrainingConfig
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.training.objectives import Deletions, Rows

if TYPE_CHECKING:
    import numpy as np


__all__ = ["DenoisingAutoEncoderLoss"]


class _Vectors(nn.Module):
    """Replaces the encoder in the library's loss, which only ties its weights to the decoder; vectors are passed in."""

    def __init__(self, trainable: TrainableEncoder) -> None:
        import transformers

        super().__init__()
        self.transformers_model = trainable.model
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(
            trainable.encoder.folder.transformer, local_files_only=True
        )

    def __getitem__(self, _: int) -> _Vectors:
        return self

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the features."""
        return features


class DenoisingAutoEncoderLoss(Deletions):
    """Vectors of sentences with deleted tokens; decoder and loss are sentence-transformers'."""

    def __init__(
        self,
        trainable: TrainableEncoder,
        training_data: TrainingData,
        recipe: TrainingConfig,
        *,
        delete: float,
        decoder_lr: float = 0.0,
    ) -> None:
        from sentence_transformers.losses import DenoisingAutoEncoderLoss

        super().__init__(trainable, training_data, recipe, rate=delete)
        self.tokenizer = trainable.tokenizer
        try:
            self.criterion: Any = DenoisingAutoEncoderLoss(_Vectors(trainable), tie_encoder_decoder=True)
        except (ValueError, AttributeError, AssertionError) as e:
            raise ValueError(f"the model cannot be a decoder, which tsdae needs ({first_line(e)})") from None
        decoder = self.criterion.decoder.float().to(trainable.device).train()
        for module in decoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = recipe.dropout
        self.heads = [decoder]
        self.heads_lr = decoder_lr

    def views(self, once: Rows) -> Rows:
        """Return every sentence with tokens deleted."""
        return [self.varied(row) for row in once]

    def loss(self, vectors: Tensor, batch: NDArray[np.int64]) -> Tensor:
        """Return the cross-entropy of the tokens of the full sentences, given the previous tokens and the vector."""
        rows, _ = self.tokenizer.rectangle([self.tokens[int(i)] for i in batch])
        seen = {"sentence_embedding": vectors, "attention_mask": torch.ones(len(batch), 1, device=self.device)}
        found: Tensor = self.criterion([seen, {"input_ids": torch.tensor(rows, device=self.device)}], None)
        return found
