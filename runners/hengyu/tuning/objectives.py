"""What the contrastive methods make of a batch: the rows to embed, and the loss of their vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hengyu.tuning.lesson import Lesson
from hengyu.tuning.losses import info_nce, negative_cosine
from hengyu.tuning.recipe import Recipe
from hengyu.tuning.trainee import Trainee

__all__ = ["DropoutPairs", "Sentences", "Siamese"]

Ids = NDArray[np.int64]
Rows = list[list[int]]


class Sentences:
    """Examples that are sentences: drawn from a lesson, tokenised once."""

    def __init__(self, trainee: Trainee, lesson: Lesson, recipe: Recipe) -> None:
        rng = np.random.default_rng([recipe.seed, 1])
        self.numbers = lesson.draw(recipe.sentences or int(lesson.counts.sum()), rng)
        self.size = len(self.numbers)
        self.texts = [lesson.texts[int(i)] for i in self.numbers]
        self.tokens = trainee.tokens(self.texts)
        self.heads: Sequence[nn.Module] = ()
        self.device = trainee.device

    def same(self, batch: Ids) -> Tensor:
        """Tell (n, n) which examples of a batch are the same sentence."""
        numbers = self.numbers[batch]
        return torch.from_numpy(numbers[:, None] == numbers[None, :]).to(self.device)

    def rows(self, batch: Ids) -> Rows:
        """Return every sentence of a batch twice: first all of them, then all again."""
        once = [self.tokens[int(i)] for i in batch]
        return once + once

    def after(self, batch: Ids) -> None:
        """Nothing is due after a step."""


class DropoutPairs(Sentences):
    """SimCSE: the second dropout pass of a sentence is its positive, those of the others its negatives."""

    def __init__(
        self, trainee: Trainee, lesson: Lesson, recipe: Recipe, temperature: float, *, mlp: bool = False
    ) -> None:
        super().__init__(trainee, lesson, recipe)
        self.temperature = temperature
        self.head = nn.Sequential(nn.Linear(trainee.width, trainee.width), nn.Tanh()) if mlp else nn.Identity()
        self.heads = [self.head.to(self.device)]

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the cross-entropy of finding each sentence's other pass."""
        first, second = torch.split(self.head(vectors), len(batch))
        return info_nce(first, second, self.temperature, same=self.same(batch))


class Siamese(Sentences):
    """SimSiam: each dropout pass is predicted from the other, and the one predicted has no gradient."""

    def __init__(self, trainee: Trainee, lesson: Lesson, recipe: Recipe, hidden: int, *, stop: bool) -> None:
        super().__init__(trainee, lesson, recipe)
        self.stop = stop
        width = trainee.width
        layers = [nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, width)]
        self.head = (nn.Sequential(*layers) if hidden else nn.Identity()).to(self.device)
        self.heads = [self.head]

    def loss(self, vectors: Tensor, batch: Ids) -> Tensor:
        """Return the mean of -cos of each pass's prediction and the other pass."""
        first, second = torch.split(vectors, len(batch))
        predicted = self.head(first), self.head(second)
        stop = self.stop
        return (negative_cosine(predicted[0], second, stop=stop) + negative_cosine(predicted[1], first, stop=stop)) / 2
