"""Training data of a tuner: sentences, and labelled pairs of them if it learns from labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hengyu.storage.identity import array_digest, digest, text_digest

__all__ = ["LabelledPairs", "TrainingData"]

Ids = NDArray[np.int64]
_HELD = 10  # one labelled pair of so many is held out, where no other split is
_FEWEST = 16  # held-out pairs


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs of sentences as indices into a list of texts, with labels on a scale."""

    first: Ids  # (n,)
    second: Ids  # (n,)
    labels: NDArray[np.float64]  # (n,)
    scale: tuple[float, float]
    binary: bool
    groups: Ids | None = None  # (n,) the card of each, where they are of several: a batch is of one

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.first)

    @property
    def unit(self) -> NDArray[np.float64]:
        """The labels (n,) rescaled to 0..1."""
        low, high = self.scale
        return (self.labels - low) / (high - low)

    @property
    def digest(self) -> str:
        """The sha256 of all fields."""
        found = [array_digest(self.first, self.second, self.labels), list(self.scale), self.binary]
        return digest(found if self.groups is None else [*found, array_digest(self.groups)])

    def distinct(self) -> LabelledPairs:
        """Return the pairs without repetitions; of a pair with several labels the first counts."""
        _, at = np.unique(np.stack([self.first, self.second]), axis=1, return_index=True)
        return self.at(np.sort(at))

    def some(self, most: int) -> LabelledPairs:
        """Return at most a number of pairs, evenly spread over the file."""
        at = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(np.int64))
        return self.at(at)

    def at(self, at: Ids) -> LabelledPairs:
        """Return the pairs of numbers (k,)."""
        groups = None if self.groups is None else self.groups[at]
        return LabelledPairs(self.first[at], self.second[at], self.labels[at], self.scale, self.binary, groups)


@dataclass(frozen=True)
class TrainingData:
    """Training sentences.

    Attributes:
        texts: distinct texts; those of ``held`` come after the training texts.
        counts: (m,) how often each of the first m texts occurs in the training data; the others are held out.
        pairs: labelled pairs to train on; None for a tuner that learns without labels.
        held: labelled pairs of a split that is neither trained on nor evaluated: only observed during training.
        cards: the names of the cards that are trained on; the groups of ``pairs`` are numbers of these.
        card: the name of the card that the model is for.
    """

    texts: Sequence[str]
    counts: Ids
    pairs: LabelledPairs | None = None
    held: LabelledPairs | None = None
    cards: tuple[str, ...] = ()
    card: str = ""

    def draw(self, n: int, rng: np.random.Generator) -> Ids:
        """Return the numbers of n random sentences, with repetitions; all of them if there are fewer."""
        every = np.repeat(np.arange(len(self.counts)), self.counts)
        return rng.permutation(every)[:n]

    def groups_of(self, numbers: Ids) -> Ids | None:
        """Return the card of each of some sentences (k,), the first of several; None where all are of one."""
        if self.pairs is None or self.pairs.groups is None:
            return None
        first = np.full(len(self.counts), len(self.pairs))
        for part in (self.pairs.first, self.pairs.second):
            np.minimum.at(first, part, self.pairs.groups)
        return first[numbers]

    def holding_out(self, seed: int, *, labelled: bool) -> TrainingData:
        """Return the training data with held-out pairs: its own, else a tenth of the labelled pairs, which are not trained on.

        Raises ValueError where there are none to hold out; ``labelled`` is whether labels may be looked at.
        """
        if self.held is not None:
            return self
        size = len(self.pairs) // _HELD if labelled and self.pairs is not None else 0
        if self.pairs is None or size < _FEWEST:
            why = "the labelled pairs are too few" if labelled else "it learns without labels"
            raise ValueError(
                "patience needs held-out pairs: no valid split is left besides what is trained on and evaluated, and "
                f"{why} to hold some out; leave patience out"
            )
        order = np.random.default_rng([seed, 6]).permutation(len(self.pairs))
        kept, apart = np.sort(order[size:]), np.sort(order[:size])
        return replace(self, pairs=self.pairs.at(kept), held=self.pairs.at(apart))

    def digest(self, *, labelled: bool) -> str:
        """Return the sha256 of the training data: sentences, counts and their cards; with labels also pairs and labels."""
        pairs = self.pairs.digest if labelled and self.pairs is not None else self.groups_digest
        return digest([text_digest(self.texts, self.counts), pairs])

    @property
    def groups_digest(self) -> str:
        """The sha256 of which sentence is of which card, "" where all are of one."""
        found = self.groups_of(np.arange(len(self.counts)))
        return "" if found is None else array_digest(found)

    @property
    def held_digest(self) -> str:
        """The sha256 of the held-out pairs, "" without any."""
        if self.held is None:
            return ""
        return digest([text_digest(self.texts[len(self.counts) :]), self.held.digest])
