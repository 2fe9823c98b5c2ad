"""How well raters agree, and what that allows: reliability, the ceiling for a perfect model, and one rater as a baseline."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate
from hengyu.numerics.metrics import spearman

__all__ = ["Agreement", "Estimate", "agreement", "most_agreed", "resampled_means", "spearman_brown"]

Floats = NDArray[np.float64]
_SPLITS = 10  # random halves, and random choices of one rater
_MOST = 100  # resamples


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval."""

    value: float
    low: float | None
    high: float | None

    def through(self, function: Callable[[float], float]) -> Estimate:
        """Return an increasing function of it."""
        ends = [None if end is None else function(end) for end in (self.low, self.high)]
        return Estimate(function(self.value), *ends)


@dataclass(frozen=True)
class Agreement:
    """How well raters agree.

    Attributes:
        one: Spearman of one rater with the mean of the others, on average.
        halves: Spearman of the means of two halves of the raters, on average over random halves.
    """

    one: Estimate
    halves: Estimate

    @property
    def reliability(self) -> Estimate:
        """The reliability of the mean of all raters (Spearman 1910, Brown 1910)."""
        return self.halves.through(spearman_brown)

    @property
    def ceiling(self) -> Estimate:
        """What a perfect model reaches against that mean: the root of its reliability."""
        return self.reliability.through(lambda r: float(np.sqrt(max(r, 0.0))))


def spearman_brown(halves: float) -> float:
    """Return the reliability of twice as many raters, from the correlation of two halves."""
    return 2.0 * halves / (1.0 + halves)


def agreement(ratings: Floats, *, named: bool, seed: int = 0, key: str = "", level: float = 0.95) -> Agreement:
    """Return how well raters agree, with intervals that resample pairs.

    Args:
        ratings: (n, R), R >= 2.
        named: whether a column is one and the same rater throughout. If not, the rater who stands for one, and the halves,
            are drawn anew for every pair.
        seed: of halves and resamples.
        key: mixed into the seed, like the name of a task.
        level: of the intervals.

    Raises:
        Degenerate: for ratings that are all the same.
    """
    rng = _source(seed, key)
    ones, halves = _arrangements(ratings, named, rng)
    values = np.array(_means([x for several in ones for x in several], halves))
    some = [several[0] for several in ones]
    base = np.array(_means(some, halves))
    drawn = np.full((_MOST, 2), np.nan)
    for b in range(_MOST):
        rows = rng.integers(0, len(ratings), len(ratings))
        try:
            drawn[b] = _means([(x[rows], y[rows]) for x, y in some], [(x[rows], y[rows]) for x, y in halves])
        except Degenerate:
            continue
    drawn = drawn[~np.isnan(drawn).any(axis=1)] - base + values
    tails = [0.5 - 0.5 * level, 0.5 + 0.5 * level]
    ends = np.quantile(drawn, tails, axis=0).T.tolist() if len(drawn) else [[None, None]] * 2
    return Agreement(*(Estimate(float(value), *pair) for value, pair in zip(values, ends, strict=True)))


def _source(seed: int, key: str) -> np.random.Generator:
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")])


def _arrangements(
    ratings: Floats, named: bool, rng: np.random.Generator
) -> tuple[list[list[tuple[Floats, Floats]]], list[tuple[Floats, Floats]]]:
    """Return what is correlated: every rater and the mean of the others, arrangement by arrangement; and two halves."""
    n, raters = ratings.shape
    total, half = ratings.sum(axis=1), raters // 2
    ones, halves = [], []
    for _ in range(_SPLITS):
        order = np.broadcast_to(rng.permutation(raters), (n, raters)) if named else _orders(n, raters, rng)
        mixed = np.take_along_axis(ratings, order, axis=1)
        halves.append((mixed[:, :half].mean(axis=1), mixed[:, half:].mean(axis=1)))
        ones.append([(one, (total - one) / (raters - 1)) for one in mixed.T])
    # of named raters every one stands for himself once
    return [[pair] for pair in ones[0]] if named else ones, halves


def _orders(n: int, raters: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.argsort(rng.random((n, raters)), axis=1)


def _means(ones: list[tuple[Floats, Floats]], halves: list[tuple[Floats, Floats]]) -> tuple[float, float]:
    one, half = (float(np.mean([spearman(x, y) for x, y in pairs])) for pairs in (ones, halves))
    return one, half


def most_agreed(ratings: Floats) -> NDArray[np.bool_]:
    """Return the pairs (n,) on which raters agree most: a standard deviation of at most the median."""
    spread = ratings.std(axis=1)
    found: NDArray[np.bool_] = spread <= np.median(spread)
    return found


def resampled_means(ratings: Floats, named: bool, rng: np.random.Generator) -> Floats:
    """Return the mean ratings (n,) of as many raters drawn with replacement, for every pair anew unless ``named``."""
    n, raters = ratings.shape
    drawn = (
        np.broadcast_to(rng.integers(0, raters, raters), (n, raters)) if named else rng.integers(0, raters, (n, raters))
    )
    means: Floats = np.take_along_axis(ratings, drawn, axis=1).mean(axis=1)
    return means
