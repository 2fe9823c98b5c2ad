"""The objective of PromptBERT: every sentence in two templates, minus the templates' own vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hengyu.encoders.model_folder import ModelFolder
from hengyu.encoders.tokenizer import Tokenizer
from hengyu.methods.training.config import TrainingConfig
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.losses import info_nce
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.training.objectives import Sentences

__all__ = ["Templates"]

Ids = NDArray[np.int64]
Rows = list[list[int]]


class Templates(Sentences):
    """The positive of a sentence in one template is the same sentence in the other."""

    def __init__(
        self,
        trainable: TrainableEncoder,
        training_data: TrainingData,
        recipe: TrainingConfig,
        temperature: float,
        other: str,
    ) -> None:
        super().__init__(trainable, training_data, recipe)
        folder = trainable.tokenizer.folder
        spec = replace(folder.spec, prompt=other)
        second = Tokenizer(ModelFolder(folder.path, spec, identifier=folder.id))
        if not second.has_mask(other):
            raise ValueError(f"promptbert(other={other}) does not contain the model's mask token; write [MASK] into it")
        self.trainable = trainable
        self.temperature = temperature
        self.others = second(self.texts)[0]
        self.empty = [_empty(t) for t in (trainable.tokenizer, second)]

    def rows(self, batch: Ids) -> Rows:
        """Return the sentences of a batch in the first template, then in the second."""
        return [self.tokens[int(i)] for i in batch] + [self.others[int(i)] for i in batch]

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the cross-entropy of each sentence in the other template, both minus the templates' own vectors."""
        first, second = torch.split(vectors - self.own(self.rows(batch)), len(batch))
        return info_nce(first, second, self.temperature, same=self.same(batch))

    def own(self, rows: Rows) -> Tensor:
        """Return the templates' own vectors (n, d), with masked padding in place of the sentences."""
        pad, _ = self.trainable.tokenizer.padding
        half = len(rows) // 2
        wanted = [(int(i >= half), len(row)) for i, row in enumerate(rows)]
        distinct = list(dict.fromkeys(wanted))
        bare = []
        for which, length in distinct:
            empty, at = self.empty[which]
            bare.append(empty[:at] + [pad] * max(0, length - len(empty)) + empty[at:])
        given = self.trainable.forward(bare, hidden=pad)
        return given[torch.tensor([distinct.index(w) for w in wanted], device=given.device)]


def _empty(tokenizer: Tokenizer) -> tuple[list[int], int]:
    """Return the ids of a template without a sentence, and the position of the sentence."""
    return tokenizer([""])[0][0], len(tokenizer.around[0])
