"""What a metric of pairs is: a number of the similarities and the labels, one class in a file of its own in metrics/.

``metrics/auc.py`` is the metric ``auc`` and names its class in ``METRIC``. Adding a metric means adding a file; there is no
list to edit, and no run to repeat: numbers are derived from the stored similarities.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate
from hengyu.numerics.bootstrap import LANES
from hengyu.numerics.resampling import Resamples

__all__ = ["Decision", "PairMetric", "find_metric", "metric_modules", "pair_metrics"]

Floats = NDArray[np.float64]
_PACKAGE = "hengyu.tasks.pairs.metrics"


class PairMetric(ABC):
    """A metric of the similarities (n,) and labels (n,) of pairs.

    Attributes:
        name: as records have it, the file's name.
        title: what boards and tables call it.
        place: its place among the metrics, ascending.
        binary: whether labels must be 0 and 1.
        fraction: whether its interval is taken on the logit scale, as percentile intervals are too short where one of two
            classes is small.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    place: ClassVar[int]
    binary: ClassVar[bool] = False
    fraction: ClassVar[bool] = False

    @abstractmethod
    def value(self, similarity: Floats, labels: Floats) -> float:
        """Return the value; raises `Degenerate` where there is none."""

    def contributions(self, similarity: Floats, labels: Floats) -> Floats:
        """Return what each pair contributes (n,), to first order: by leaving it out, unless a metric has a formula."""
        n, whole = len(labels), self.value(similarity, labels)
        found = np.full(n, whole)
        for i in range(n):
            try:
                rest = self.value(np.delete(similarity, i), np.delete(labels, i))
            except Degenerate:
                continue  # the metric does not exist without the pair
            found[i] = n * whole - (n - 1) * rest
        return np.asarray(found + whole - found.mean())

    def replicates(self, similarity: Floats, drawn: Resamples, threshold: float | None = None) -> Floats:
        """Return its values (resamples,) on resamples, NaN where there is none.

        Metrics that `Resamples.run` has compiled are not asked. ``threshold`` is that of a `Decision`, which stays fixed.
        """
        found = np.full(drawn.resamples, np.nan)
        for block in range(-(-drawn.resamples // LANES)):
            weights = drawn.weights(block)
            for lane in range(min(LANES, drawn.resamples - block * LANES)):
                rows = np.repeat(np.arange(drawn.n), weights[:, lane])
                try:
                    found[block * LANES + lane] = self._resampled(similarity[rows], drawn.labels[rows], threshold)
                except Degenerate:
                    continue
        return found

    def _resampled(self, similarity: Floats, labels: Floats, threshold: float | None) -> float:
        return self.value(similarity, labels)


class Decision(PairMetric):
    """A metric of pairs that are called the same at or above a threshold."""

    binary = True

    @abstractmethod
    def best(self, similarity: Floats, labels: Floats) -> float:
        """Return the threshold with the highest value; raises `Degenerate`."""

    @abstractmethod
    def at(self, similarity: Floats, labels: Floats, threshold: float) -> float:
        """Return the value at a threshold; raises `Degenerate`."""

    def value(self, similarity: Floats, labels: Floats) -> float:
        """Return the value at the best threshold of the pairs themselves."""
        return self.at(similarity, labels, self.best(similarity, labels))

    def _resampled(self, similarity: Floats, labels: Floats, threshold: float | None) -> float:
        return self.value(similarity, labels) if threshold is None else self.at(similarity, labels, threshold)


@cache
def pair_metrics() -> tuple[PairMetric, ...]:
    """Return all metrics of pairs, in their places."""
    found: list[PairMetric] = [import_module(module).METRIC() for module in metric_modules()]
    return tuple(sorted(found, key=lambda metric: (metric.place, metric.name)))


@cache
def metric_modules() -> tuple[str, ...]:
    """Return the modules of all metrics."""
    return tuple(f"{_PACKAGE}.{found.name}" for found in iter_modules(import_module(_PACKAGE).__path__))


def find_metric(name: str) -> PairMetric:
    """Return a metric by its name; raises KeyError for a name that none has."""
    return {metric.name: metric for metric in pair_metrics()}[name]
