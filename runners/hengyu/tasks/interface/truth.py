"""What the observations of one task are judged by: labels of pairs, or what is relevant to queries."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate
from hengyu.numerics.agreement import Estimate
from hengyu.numerics.query_bootstrap import group_sums, mean_replicates, resamples_of
from hengyu.numerics.resampling import Resamples, interval

__all__ = ["ItemMeans", "Measured", "Truth", "interval_of", "percentiles", "sha_of"]

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Measured:
    """The values of one entry on one task by metric, and the thresholds of those metrics that decide by one."""

    values: Mapping[str, float]
    thresholds: Mapping[str, float] = field(default_factory=dict)


class Truth(ABC):
    """What the observations of one task are judged by.

    The numbers of a run, and the comparison of two runs pair by pair, both come from here; a run's folder keeps as much of it
    as the comparison needs (`hengyu.tasks.interface.base.Task.save`). *Scores* are what an observation says of every item (a
    pair, or a query), in whatever form the class chooses.

    Attributes:
        task: the name of the task, which its resamples are drawn by.
        metrics: the metrics with an interval, in the order of the records.
        ceiling: the highest value of the main metric that the labels allow; None where that is not known.
        threshold_on: the task that thresholds are chosen on; "" where nothing is decided.
        limit: the largest difference of two values of a metric.
    """

    task: str
    metrics: tuple[str, ...]
    ceiling: float | None = None
    threshold_on: str = ""
    limit: float = 1.0

    @property
    def digest(self) -> str:
        """The digest of what the observations depend on, beyond the texts and labels of the task and of its threshold split."""
        return ""

    @property
    def about(self) -> dict[str, Any]:
        """What the header of a run says of the task."""
        return {}

    def label_rows(self) -> Mapping[str, Mapping[str, Estimate]]:
        """Return rows that follow from the labels alone, name -> metric -> value; as of one rater beside the others."""
        return {}

    def among(self, others: Ids, texts: Sequence[str]) -> Truth:
        """Return the same with more documents searched, by the numbers of their texts (k,); of kinds that `Task.distracts`.

        None of them is relevant to anything. Those that are texts of the task itself are left out and counted in `about`.
        """
        raise NotImplementedError

    def texts(self, side: str) -> Ids:
        """Return the numbers of the texts that are needed as "query" or as "document", of kinds that are `Task.sided`."""
        return np.zeros(0, np.int64)

    @property
    @abstractmethod
    def n(self) -> int:
        """The number of items."""

    @property
    @abstractmethod
    def groups(self) -> Ids:
        """The group (n,) of each item, numbered from 0: those of different groups are independent."""

    @property
    def bound(self) -> float:
        """How far one group alone can move the sum over items; 0 where that is not known."""
        return 0.0

    @abstractmethod
    def scores(self, tensors: Mapping[str, NDArray[Any]], row: int) -> Any | None:
        """Return the scores of a row of an observation (`Observation.tensors`); None where it is not of this task."""

    @abstractmethod
    def value(self, scores: Any, metric: str) -> float:
        """Return the value of a metric; raises `Degenerate` where there is none."""

    def metrics_of(self, scores: Any) -> tuple[str, ...]:
        """Return those of `metrics` that scores have: all, unless a kind of row lacks some of them."""
        return self.metrics

    def measure(self, scores: Any) -> Measured:
        """Return the values of all metrics that scores have; raises `Degenerate` where one has none."""
        return Measured({m: self.value(scores, m) for m in self.metrics_of(scores)})

    @abstractmethod
    def replicates(
        self,
        scores: Sequence[Any],
        metrics: Sequence[str],
        resamples: int,
        seed: int,
        thresholds: Sequence[Mapping[str, float]] = (),
    ) -> dict[str, Floats]:
        """Return the replicates (entries, resamples) of metrics; all entries see the same resamples.

        ``thresholds`` are those of each entry (`Measured.thresholds`), which stay fixed.
        """

    def interval(self, metric: str, value: float, drawn: Floats, level: float) -> dict[str, Any]:
        """Return ``low``, ``high`` and ``interval`` of a record; ``drawn`` are the metric's replicates (resamples,)."""
        return percentiles(drawn, level)

    @abstractmethod
    def contributions(self, scores: Any, metric: str) -> Floats:
        """Return what each item contributes to a metric (n,): their mean is the value, to first order at least."""

    @abstractmethod
    def resamples(self, resamples: int, seed: int) -> Resamples:
        """Return the resamples that `replicates` draws."""

    def compile_ahead(self, entries: int, resamples: int) -> None:
        """Compile what `replicates` of so many entries will run, where that is worth it."""
        self.resamples(resamples, 0).compile_ahead(entries, ())

    @abstractmethod
    def like(self, other: Truth) -> bool:
        """Whether both judge the same items alike."""

    def order(self) -> str:
        """Return 16 digits that two truths share where `groups` and the order of items are the same."""
        return sha_of(self.groups)


class ItemMeans(Truth):
    """Metrics that are means of a value of each item; scores are those values (n,) by metric."""

    @property
    def bound(self) -> float:
        """How far one group alone can move the sum over items: each by 1."""
        return self.limit * float(np.bincount(self.groups).max(initial=0))

    def value(self, scores: Mapping[str, Floats], metric: str) -> float:
        """Return the mean of a metric."""
        return float(scores[metric].mean())

    def replicates(
        self,
        scores: Sequence[Mapping[str, Floats]],
        metrics: Sequence[str],
        resamples: int,
        seed: int,
        thresholds: Sequence[Mapping[str, float]] = (),
    ) -> dict[str, Floats]:
        """Return the replicates (entries, resamples) of metrics: items of a group are drawn together."""
        sizes = np.bincount(self.groups).astype(np.float64)
        sums = np.stack([group_sums(one[m], self.groups) for one in scores for m in metrics], axis=1)
        drawn = mean_replicates(sums, sizes, resamples, seed, self.task)
        return {m: drawn[i :: len(metrics)] for i, m in enumerate(metrics)}

    def contributions(self, scores: Mapping[str, Floats], metric: str) -> Floats:
        """Return the values (n,) themselves."""
        return scores[metric]

    def resamples(self, resamples: int, seed: int) -> Resamples:
        """Return resamples of the groups."""
        return resamples_of(int(self.groups.max()) + 1, resamples, seed, self.task)


def interval_of(replicates: Floats, level: float) -> tuple[float, float] | tuple[None, None]:
    """Return the percentile interval; none when every resample was constant, as with a handful of pairs."""
    try:
        return interval(replicates, level)
    except Degenerate:
        return None, None


def percentiles(replicates: Floats, level: float) -> dict[str, Any]:
    """Return the percentile interval as a record has it."""
    low, high = interval_of(replicates, level)
    return {"low": low, "high": high, "interval": "bootstrap" if low is not None else ""}


def sha_of(*arrays: NDArray[Any]) -> str:
    """Return 16 digits of the sha256 of arrays: their types, shapes and bytes."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]
