"""What a tuner learns from: sentences, and the labelled pairs among them where it learns from labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.storage.identity import array_digest, digest, text_digest

__all__ = ["LabelledPairs", "TrainingData"]

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs of sentences as numbers into a list of texts, with labels on a scale."""

    first: Ids  # (n,)
    second: Ids  # (n,)
    labels: NDArray[np.float64]  # (n,)
    scale: tuple[float, float]
    binary: bool

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.first)

    @property
    def unit(self) -> NDArray[np.float64]:
        """The labels (n,) on 0..1."""
        low, high = self.scale
        return (self.labels - low) / (high - low)

    @property
    def digest(self) -> str:
        """The sha256 of everything of it."""
        return digest([array_digest(self.first, self.second, self.labels), list(self.scale), self.binary])

    def distinct(self) -> LabelledPairs:
        """Return the pairs without their repeats; of a pair with several labels the first counts."""
        _, at = np.unique(np.stack([self.first, self.second]), axis=1, return_index=True)
        return self._at(np.sort(at))

    def some(self, most: int) -> LabelledPairs:
        """Return at most so many of the pairs, evenly spread over the file."""
        at = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(np.int64))
        return self._at(at)

    def _at(self, at: Ids) -> LabelledPairs:
        return LabelledPairs(self.first[at], self.second[at], self.labels[at], self.scale, self.binary)


@dataclass(frozen=True)
class TrainingData:
    """Sentences to train on.

    Attributes:
        texts: distinct; those of ``held`` follow those of the training.
        counts: (m,) how often each of the first m texts occurs in the training; the others are held out.
        pairs: labelled pairs to train on; None for a tuner that learns without labels.
        held: labelled pairs of a split that is neither trained on nor weighed: read off during training, never acted on.
    """

    texts: Sequence[str]
    counts: Ids
    pairs: LabelledPairs | None = None
    held: LabelledPairs | None = None

    def draw(self, n: int, rng: np.random.Generator) -> Ids:
        """Return the numbers of n random sentences, repeats counted as they stand; all of them when there are fewer."""
        every = np.repeat(np.arange(len(self.counts)), self.counts)
        return rng.permutation(every)[:n]

    def digest(self, *, labelled: bool) -> str:
        """Return the sha256 of what a training learns from: sentences, how often; with labels, pairs and labels too."""
        pairs = self.pairs.digest if labelled and self.pairs is not None else ""
        return digest([text_digest(self.texts, self.counts), pairs])

    @property
    def held_digest(self) -> str:
        """The sha256 of the pairs held out, "" without any."""
        if self.held is None:
            return ""
        return digest([text_digest(self.texts[len(self.counts) :]), self.held.digest])
