"""The base class of tuners that leave the model as it is and weigh the tokens of a mean by how frequent they are."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.progress import Tick
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.tuner import Tuner

if TYPE_CHECKING:
    from hengyu.methods.training.model import TrainableEncoder

__all__ = ["Frequencies", "TokenWeights"]

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class Frequencies:
    """How often each token of a vocabulary occurs in sentences, repeats counted.

    Attributes:
        sentences: the number of sentences.
        tokens: (V,) how often a token occurs in all of them together.
        documents: (V,) in how many of them it occurs.
    """

    sentences: int
    tokens: Weights
    documents: Weights


@dataclass
class TokenWeights(Tuner):
    """Weighs the states of tokens in the mean of a sentence; the weights follow from frequencies in the sentences of ``fit_on``.

    Nothing is trained. The result is a sentence-transformers folder with a WordWeights module, so it can be exported and
    loaded elsewhere. Tokens like [CLS] count as any other. The poolings that are means have weights; others are refused.
    """

    report: dict[str, Any] = field(init=False, repr=False, default_factory=dict)

    @abstractmethod
    def weigh(self, found: Frequencies) -> Weights:
        """Return the weight (V,) of each token, at least 0."""

    def steps(self, training_data: TrainingData) -> int:
        """Return 1: the sentences are read once."""
        return 1

    def tune(self, trainable: TrainableEncoder, training_data: TrainingData, tick: Tick) -> None:
        """Count the tokens of the sentences and set the weights; raises ValueError for a pooling that is no mean."""
        from hengyu.encoders.pooling import LAYERS

        if trainable.read not in LAYERS:
            raise ValueError(f"pooling '{trainable.read}' is not a mean, so its tokens have no weights; use mean")
        trainable.open(dropout=None, length=trainable.encoder.folder.max_length)
        counts = training_data.counts
        rows = trainable.tokens(training_data.texts[: len(counts)])
        size = max(trainable.tokenizer.size, 1 + max((max(row) for row in rows if row), default=0))
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        ids = np.fromiter((token for row in rows for token in row), np.int64, int(lengths.sum()))
        owner = np.repeat(np.arange(len(rows)), lengths)
        tokens = np.bincount(ids, weights=counts[owner].astype(np.float64), minlength=size)
        once = np.unique(owner * size + ids)
        documents = np.bincount(once % size, weights=counts[once // size].astype(np.float64), minlength=size)
        found = Frequencies(int(counts.sum()), tokens.astype(np.float64), documents.astype(np.float64))
        trainable.token_weights = self.weigh(found)
        self.report = {"kind": "tuner", "examples": found.sentences, "steps": 0, "step": []}
        tick(1)
