"""Measures the change of vectors and scores: cosine distances, and the paired change of Spearman with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate
from hengyu.cards.data import Pairs
from hengyu.encoders import Vectors
from hengyu.numerics.metrics import spearman
from hengyu.numerics.resampling import Resamples, difference, interval
from hengyu.numerics.similarity import cosines

__all__ = ["Change", "Excerpt", "Yardstick", "distances", "take_excerpt"]

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Excerpt:
    """Pairs of a task as indices into its distinct texts."""

    task: str
    texts: tuple[str, ...]  # (m,), in order of first appearance
    first: Ids  # (n,)
    second: Ids  # (n,)
    labels: Floats  # (n,)


@dataclass(frozen=True)
class Change:
    """Vectors and scores of one condition compared with those of another; None for a missing number."""

    texts: int  # number of compared texts
    largest: float | None  # cosine distance
    mean: float | None
    points: float | None = None  # change of Spearman x 100
    low: float | None = None  # its 95 % interval, paired
    high: float | None = None
    bytes_differ: bool = False


def take_excerpt(pairs: Pairs, limit: int) -> Excerpt:
    """Return at most ``limit`` pairs (0 for all), evenly spaced, so that a sorted file keeps its spread."""
    n = len(pairs.labels)
    rows = np.arange(n) if limit <= 0 or limit >= n else np.linspace(0, n - 1, limit).round().astype(np.int64)
    number: dict[str, int] = {}
    columns = [[number.setdefault(column[i], len(number)) for i in rows] for column in (pairs.first, pairs.second)]
    first, second = (np.asarray(c, np.int64) for c in columns)
    return Excerpt(pairs.task, tuple(number), first, second, pairs.labels[rows])


def distances(a: Vectors, b: Vectors) -> Floats:
    """Return the cosine distance (n,) of rows (n, d) in float64, as half the squared distance of the unit vectors.

    1 - cos would lose everything below 1e-16 to cancellation. A zero vector has distance 1 from all but another zero vector.
    """
    x, y = (_unit(v.astype(np.float64)) for v in (a, b))
    out: Floats = 0.5 * np.square(x - y).sum(axis=1)
    alone = x.any(axis=1) != y.any(axis=1)
    out[alone] = 1.0
    return out


def _unit(x: Floats) -> Floats:
    length = np.linalg.norm(x, axis=1, keepdims=True)
    out: Floats = x / np.where(length > 0, length, 1.0)
    return out


class Yardstick:
    """The reference for all conditions: the vectors of a sample's texts (m, d), and the scores of its pairs.

    ``spearman`` is None if undefined (constant labels or scores), and ``no_score`` gives the reason; ``low`` and ``high`` are the
    ends of its 95 % interval.
    """

    def __init__(self, sample: Excerpt, vectors: Vectors, seed: int = 0) -> None:
        self.sample = sample
        self.vectors = vectors
        self.spearman: float | None = None
        self.low: float | None = None
        self.high: float | None = None
        self.no_score = ""
        scores = cosines(vectors, sample.first, sample.second)
        try:
            self.spearman = spearman(scores, sample.labels)
            self._resamples = Resamples(sample.labels, 1000, seed, sample.task)
            self._replicates = self._resamples.run([scores])["spearman"][0]
            self.low, self.high = interval(self._replicates, 0.95)
        except Degenerate as e:
            self.no_score = str(e)

    @property
    def spread(self) -> float:
        """The mean cosine distance of each text to the one a third of the list later, which is not its partner."""
        return float(distances(self.vectors, np.roll(self.vectors, len(self.vectors) // 3, axis=0)).mean())

    def compare(self, vectors: Vectors, compared: Ids | None = None, *, second_only: bool = False) -> Change:
        """Compare other vectors (m, e) of the same texts with these.

        Args:
            vectors: one row for each text; if e differs from d, only the scores can be compared.
            compared: the texts whose distances count; all by default.
            second_only: the first sentence of each pair keeps its own vector.
        """
        own, rows = self.vectors, np.arange(len(vectors)) if compared is None else compared
        if not np.isfinite(vectors).all():
            raise FloatingPointError("vectors are not finite: the numbers exceed the range of the dtype")
        largest = mean = None
        if own.shape == vectors.shape and len(rows):
            apart = distances(own[rows], vectors[rows])
            largest, mean = float(apart.max()), float(apart.mean())
        differ = own.shape != vectors.shape or own.tobytes() != vectors.tobytes()
        change = Change(len(rows), largest, mean, bytes_differ=differ)
        if self.spearman is None:
            return change
        if not differ:
            return Change(len(rows), largest, mean, 0.0, 0.0, 0.0)
        first, second = self.sample.first, self.sample.second
        if second_only:
            scores = cosines(np.concatenate([own, vectors]), first, second + len(own))
        else:
            scores = cosines(vectors, first, second)
        try:
            points = 100 * (spearman(scores, self.sample.labels) - self.spearman)
            low, high = difference(self._resamples.run([scores])["spearman"][0], self._replicates)
        except Degenerate:
            return change
        return Change(len(rows), largest, mean, points, 100 * low, 100 * high, bytes_differ=differ)
