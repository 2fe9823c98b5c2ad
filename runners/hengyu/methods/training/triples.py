"""Triples from labelled pairs: an anchor, a positive, and a hard negative that was labelled as different."""

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
    """Triples of sentences, as indices into a list of texts.

    Attributes:
        anchors: (n,) the anchors.
        positives: (n,) their positives.
        negatives: (n,) their hard negatives, -1 for none.
        alike: (m, m), true if two texts are the same, or have the same meaning by the labels.
    """

    anchors: Ids
    positives: Ids
    negatives: Ids
    alike: csr_array

    @classmethod
    def of(cls, pairs: LabelledPairs, positive: float, negative: float, rng: np.random.Generator) -> Triples:
        """Return a triple for every pair labelled at least ``positive`` (share of the scale), in the order of the pairs.

        The negative is drawn from the sentences paired with the anchor, in either order, and labelled at most ``negative``; if
        only the second sentence has any, that is the anchor. Below 0 there are none. Raises `Degenerate` without a positive
        pair.
        """
        same = pairs.unit >= positive
        if not same.any():
            raise Degenerate(
                f"no training pair has a label of at least {positive:g} of the scale, so there are no positives"
            )
        anchors, positives = pairs.first[same].copy(), pairs.second[same].copy()
        size = int(max(pairs.first.max(), pairs.second.max())) + 1
        every = np.arange(size)
        rows, columns = np.concatenate([anchors, positives, every]), np.concatenate([positives, anchors, every])
        alike = csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(size, size))
        known = set(zip(rows.tolist(), columns.tolist(), strict=True))
        other: dict[int, list[int]] = {}
        for a, b in zip(*(part[pairs.unit <= negative].tolist() for part in (pairs.first, pairs.second)), strict=True):
            if (a, b) not in known:  # labels sometimes contradict each other
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
        """Return (n, n + k) which positives, then which negatives, of a batch have the same meaning as an anchor."""
        return self.same(self.anchors[batch], np.concatenate([self.positives[batch], self.hard(batch)]))

    def same(self, rows: Ids, columns: Ids) -> NDArray[np.bool_]:
        """Return (n, m) which of the texts ``rows`` and ``columns`` are the same, or have the same meaning by the labels."""
        found: NDArray[np.bool_] = self.alike[rows][:, columns].toarray()
        return found

    def owners(self, batch: Ids) -> Ids:
        """Return the places in a batch of the anchors that the hard negatives belong to."""
        return np.flatnonzero(self.negatives[batch] >= 0)

    def hard(self, batch: Ids) -> Ids:
        """Return the hard negatives of a batch, if any."""
        negatives = self.negatives[batch]
        return negatives[negatives >= 0]
