"""The objectives of the contrastive methods: the rows of a batch to embed, and the loss of their vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hengyu.methods.training.config import TrainingConfig
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.losses import info_nce, negative_cosine
from hengyu.methods.training.model import TrainableEncoder

__all__ = [
    "Deletions",
    "DropoutPairs",
    "Repetitions",
    "Rows",
    "Sentences",
    "Siamese",
    "Views",
    "deleted",
    "layer_on_top",
    "repeated",
]

Ids = NDArray[np.int64]
Rows = list[list[int]]


class Sentences:
    """An objective on sentences, drawn from the training data and tokenised once."""

    def __init__(self, trainable: TrainableEncoder, training_data: TrainingData, recipe: TrainingConfig) -> None:
        rng = np.random.default_rng([recipe.seed, 1])
        self.numbers = training_data.draw(recipe.sentences or int(training_data.counts.sum()), rng)
        self.size = len(self.numbers)
        self.groups = training_data.groups_of(self.numbers)
        self.texts = [training_data.texts[int(i)] for i in self.numbers]
        self.tokens = trainable.tokens(self.texts)
        self.heads: Sequence[nn.Module] = ()
        self.heads_lr = 0.0
        self.device = trainable.device

    def same(self, batch: Ids) -> Tensor:
        """Return (n, n) which examples of a batch are the same sentence."""
        numbers = self.numbers[batch]
        return torch.from_numpy(numbers[:, None] == numbers[None, :]).to(self.device)

    def rows(self, batch: Ids) -> Rows:
        """Return all sentences of a batch, then all of them again."""
        once = [self.tokens[int(i)] for i in batch]
        return once + once

    def after(self, batch: Ids) -> None:
        """Nothing to update after a step."""


class DropoutPairs(Sentences):
    """SimCSE: the second dropout pass of a sentence is its positive; those of the others are negatives."""

    def __init__(
        self,
        trainable: TrainableEncoder,
        training_data: TrainingData,
        recipe: TrainingConfig,
        temperature: float,
        *,
        mlp: bool = False,
    ) -> None:
        super().__init__(trainable, training_data, recipe)
        self.temperature = temperature
        self.head = layer_on_top(trainable, mlp=mlp)
        self.heads = [self.head]

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the cross-entropy of finding each sentence's other pass."""
        first, second = torch.split(self.head(vectors), len(batch))
        return info_nce(first, second, self.temperature, same=self.same(batch))


class Siamese(Sentences):
    """SimSiam: each dropout pass is predicted from the other, with a stopped gradient on the target."""

    def __init__(
        self,
        trainable: TrainableEncoder,
        training_data: TrainingData,
        recipe: TrainingConfig,
        hidden: int,
        *,
        stop: bool,
        heads_lr: float = 0.0,
    ) -> None:
        super().__init__(trainable, training_data, recipe)
        self.stop = stop
        self.heads_lr = heads_lr
        width = trainable.width
        layers = [nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, width)]
        self.head = (nn.Sequential(*layers) if hidden else nn.Identity()).to(self.device)
        self.heads = [self.head]

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the mean of -cos of each pass's prediction and the other pass."""
        first, second = torch.split(vectors, len(batch))
        predicted = self.head(first), self.head(second)
        stop = self.stop
        return (negative_cosine(predicted[0], second, stop=stop) + negative_cosine(predicted[1], first, stop=stop)) / 2


class Views(DropoutPairs, ABC):
    """Two views of a sentence whose tokens may differ; the same batch always has the same views."""

    def __init__(
        self,
        trainable: TrainableEncoder,
        training_data: TrainingData,
        recipe: TrainingConfig,
        temperature: float = 1.0,
        *,
        rate: float,
        mlp: bool = False,
    ) -> None:
        super().__init__(trainable, training_data, recipe, temperature, mlp=mlp)
        self.rate = rate  # the share of tokens that differ
        self.rng = np.random.default_rng([recipe.seed, 4])
        self.head_length, self.tail_length = trainable.tokenizer.frame_lengths
        self.longest = trainable.tokenizer.folder.max_length
        self._batch: Ids = np.zeros(0, np.int64)
        self._rows: Rows = []

    @abstractmethod
    def vary(self, inner: list[int]) -> list[int]:
        """Return another view of a sentence's tokens."""

    @abstractmethod
    def views(self, once: Rows) -> Rows:
        """Return the first views of sentences, then the second."""

    def rows(self, batch: Ids) -> Rows:
        """Return the first views of a batch, then the second."""
        if self._batch is not batch:
            self._batch = batch
            self._rows = self.views([self.tokens[int(i)] for i in batch])
        return self._rows

    def varied(self, row: list[int]) -> list[int]:
        """Return a row with its inner tokens varied; special tokens and the prompt stay."""
        end = len(row) - self.tail_length
        inner = self.vary(row[self.head_length : end])
        room = self.longest - self.head_length - self.tail_length
        return row[: self.head_length] + inner[:room] + row[end:]


class Deletions(Views):
    """SimCSE with word deletion: each pass of a sentence lacks different random tokens."""

    def vary(self, inner: list[int]) -> list[int]:
        """Return the remaining tokens."""
        return deleted(inner, self.rate, self.rng)

    def views(self, once: Rows) -> Rows:
        """Return every sentence twice, with different tokens deleted."""
        return [self.varied(row) for row in once + once]


class Repetitions(Views):
    """ESimCSE: the positive has some tokens twice; vectors of earlier batches are further negatives."""

    def __init__(
        self,
        trainable: TrainableEncoder,
        training_data: TrainingData,
        recipe: TrainingConfig,
        temperature: float,
        *,
        rate: float,
        queue: float,
        momentum: float,
        mlp: bool = False,
    ) -> None:
        super().__init__(trainable, training_data, recipe, temperature, rate=rate, mlp=mlp)
        self.queue_size = round(queue * recipe.batch)  # vectors
        self.momentum = momentum
        self.trainable = trainable
        self.slow = deepcopy(trainable.model).requires_grad_(False) if queue else None
        self.slow_head = deepcopy(self.head).requires_grad_(False)
        self.queue = torch.zeros(0, trainable.width, device=self.device)

    def vary(self, inner: list[int]) -> list[int]:
        """Return the tokens, some of them repeated."""
        return repeated(inner, self.rate, self.rng)

    def views(self, once: Rows) -> Rows:
        """Return the sentences, then their copies with repeated tokens."""
        return once + [self.varied(row) for row in once]

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the cross-entropy of each sentence's copy among those of the batch and the queue."""
        first, second = torch.split(self.head(vectors), len(batch))
        return info_nce(first, second, self.temperature, same=self.same(batch), more=self.queue[:, : first.shape[1]])

    def after(self, batch: Ids) -> None:
        """Update the momentum copy, and add its vectors of the batch to the queue in place of the oldest."""
        if self.slow is None:
            return
        pace = 1 - self.momentum
        with torch.no_grad():
            for slow, fast in ((self.slow, self.trainable.model), (self.slow_head, self.head)):
                for a, b in zip(slow.parameters(), fast.parameters(), strict=True):
                    a.lerp_(b, pace)
            fast = self.trainable.model
            self.trainable.model = self.slow.train()
            try:
                new = self.slow_head(self.trainable.embed([self.tokens[int(i)] for i in batch]))
            finally:
                self.trainable.model = fast
        self.queue = torch.cat([new, self.queue])[: self.queue_size]


def layer_on_top(trainable: TrainableEncoder, *, mlp: bool) -> nn.Module:
    """Return the layer with tanh that SimCSE trains with, and forgets; without ``mlp`` vectors pass as they are."""
    if not mlp:
        return nn.Identity()
    return nn.Sequential(nn.Linear(trainable.width, trainable.width), nn.Tanh()).to(trainable.device)


def repeated(tokens: list[int], rate: float, rng: np.random.Generator) -> list[int]:
    """Return tokens of which 0 to max(2, rate n), drawn at random, are repeated."""
    most = min(len(tokens), max(2, int(rate * len(tokens)))) if rate else 0
    if not most:
        return tokens
    twice = set(rng.choice(len(tokens), size=int(rng.integers(0, most + 1)), replace=False).tolist())
    return [t for i, t in enumerate(tokens) for _ in range(1 + (i in twice))]


def deleted(tokens: list[int], rate: float, rng: np.random.Generator) -> list[int]:
    """Delete each token with a probability of ``rate``; returns all tokens if none would remain."""
    kept = rng.random(len(tokens)) >= rate
    return [t for t, keep in zip(tokens, kept, strict=True) if keep] or tokens
