"""Triples of labelled pairs: an anchor, what means the same, and what does not though somebody compared the two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from hengyu.base.errors import Degenerate
from hengyu.methods.training.data import LabelledPairs

__all__ = ["Triples"]

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Triples:
    """Sentences in threes, as numbers into a list of texts.

    Attributes:
        anchors: (n,)
        positives: (n,)
        negatives: (n,), -1 where an anchor has none.
        alike: (m, m), true where the labels say that two texts mean the same, and where they are one.
    """

    anchors: Ids
    positives: Ids
    negatives: Ids
    alike: csr_array

    @classmethod
    def of(cls, pairs: LabelledPairs, positive: float, negative: float, rng: np.random.Generator) -> Triples:
        """Return one for every pair labelled at least ``positive`` (share of the scale), in the order of the pairs.

        The negative is drawn from those that a pair labelled at most ``negative``, whichever way round, holds beside the
        anchor; the anchor is the second sentence where only that has any. Below 0 there are none. Raises `Degenerate`
        without a positive pair.
        """
        same = pairs.unit >= positive
        if not same.any():
            raise Degenerate(
                f"no pair it is trained on has a label of {positive:g} of the scale or more, so that nothing says what "
                "means the same"
            )
        anchors, positives = pairs.first[same].copy(), pairs.second[same].copy()
        size = int(max(pairs.first.max(), pairs.second.max())) + 1
        every = np.arange(size)
        rows, columns = np.concatenate([anchors, positives, every]), np.concatenate([positives, anchors, every])
        alike = csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(size, size))
        known = set(zip(rows.tolist(), columns.tolist(), strict=True))
        other: dict[int, list[int]] = {}
        for a, b in zip(*(part[pairs.unit <= negative].tolist() for part in (pairs.first, pairs.second)), strict=True):
            if (a, b) not in known:  # labels contradict each other now and then
                other.setdefault(a, []).append(b)
                other.setdefault(b, []).append(a)
        negatives = np.full(len(anchors), -1)
        for i, (a, b) in enumerate(zip(anchors.tolist(), positives.tolist(), strict=True)):
            if a not in other and b in other:
                anchors[i], positives[i] = a, b = b, a
            if a in other:
                negatives[i] = other[a][int(rng.integers(len(other[a])))]
        return cls(anchors, positives, negatives, alike)

    def __len__(self) -> int:
        """Return the number of triples."""
        return len(self.anchors)

    def excused(self, batch: Ids) -> NDArray[np.bool_]:
        """Tell (n, n + k) which positives of a batch, then which negatives there are, mean the same as an anchor."""
        candidates = np.concatenate([self.positives[batch], self.hard(batch)])
        found: NDArray[np.bool_] = self.alike[self.anchors[batch]][:, candidates].toarray()
        return found

    def hard(self, batch: Ids) -> Ids:
        """Return the negatives of a batch, of those that have one."""
        negatives = self.negatives[batch]
        return negatives[negatives >= 0]
