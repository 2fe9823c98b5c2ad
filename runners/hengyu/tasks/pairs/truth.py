"""Labels of pairs as what observations are judged by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hengyu.numerics.resampling import METRICS, Resamples, logit_interval
from hengyu.tasks.interface.truth import Measured, Truth, percentiles
from hengyu.tasks.pairs.metric import Decision, find_metric

__all__ = ["PairLabels", "PairScores"]

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


class PairScores(NamedTuple):
    """What was seen of every pair.

    Attributes:
        similarity: the cosine (n,).
        threshold_similarity: that of the pairs (m,) of the split that thresholds are chosen on; None without one.
        others: (n,) of other measures, for kinds that judge them too.
    """

    similarity: Floats
    threshold_similarity: Floats | None = None
    others: tuple[Floats, ...] = ()


@dataclass(frozen=True)
class PairLabels(Truth):
    """The labels of a task's pairs.

    Attributes:
        labels: (n,).
        grouping: returns the groups (n,) of pairs that share a sentence.
        metrics: names of metrics of pairs (`hengyu.tasks.pairs.metric`).
        threshold_labels: (m,) of the split that thresholds are chosen on; None to choose them on the task itself.
        ceiling: of the main metric, where the labels bound it.
    """

    task: str
    labels: Floats
    grouping: Callable[[], Ids]
    metrics: tuple[str, ...] = ("spearman",)
    threshold_labels: Floats | None = None
    ceiling: float | None = None
    threshold_on: str = ""
    limit: float = 2.0  # of a correlation

    @property
    def n(self) -> int:
        """The number of pairs."""
        return len(self.labels)

    @cached_property
    def groups(self) -> Ids:
        """The group (n,) of each pair: those that share a sentence belong together."""
        return self.grouping()

    @cached_property
    def _fewer(self) -> int:
        """The number of pairs in the smaller of two classes."""
        positive = int(np.count_nonzero(self.labels == 1.0))
        return min(positive, self.n - positive)

    def scores(self, tensors: Mapping[str, NDArray[Any]], row: int) -> PairScores | None:
        """Return a row's similarities, where there is one for every label."""
        similarity, chosen_on = tensors.get("similarity"), tensors.get("beside")
        if similarity is None or row >= len(similarity) or similarity[row].shape != self.labels.shape:
            return None
        other = None if chosen_on is None or not len(chosen_on) else np.asarray(chosen_on[row], np.float64)
        return PairScores(np.asarray(similarity[row], np.float64), other)

    def value(self, scores: PairScores, metric: str) -> float:
        """Return the value of a metric; one that decides does so by the best threshold on the pairs themselves."""
        return find_metric(metric).value(scores.similarity, self.labels)

    def measure(self, scores: PairScores) -> Measured:
        """Return the values of all `metrics`; thresholds come from the other split where there is one."""
        values, thresholds = {}, {}
        chosen = (scores.similarity, self.labels)
        if scores.threshold_similarity is not None and self.threshold_labels is not None:
            chosen = (scores.threshold_similarity, self.threshold_labels)
        for name in self.metrics:
            metric = find_metric(name)
            if isinstance(metric, Decision):
                thresholds[name] = metric.best(*chosen)
                values[name] = metric.at(scores.similarity, self.labels, thresholds[name])
            else:
                values[name] = metric.value(scores.similarity, self.labels)
        return Measured(values, thresholds)

    def replicates(
        self,
        scores: Sequence[PairScores],
        metrics: Sequence[str],
        resamples: int,
        seed: int,
        thresholds: Sequence[Mapping[str, float]] = (),
    ) -> dict[str, Floats]:
        """Return the replicates (entries, resamples) of metrics."""
        drawn = self.resamples(resamples, seed)
        every = [one.similarity for one in scores]
        decided = [m for m in metrics if isinstance(find_metric(m), Decision)]
        cuts = {m: [one[m] for one in thresholds] for m in decided} if thresholds else {}
        compiled = [m for m in metrics if m in METRICS]
        found = drawn.run(every, metrics=compiled, thresholds={m: cut for m, cut in cuts.items() if m in METRICS})
        for m in metrics:
            if m not in METRICS:
                of, at = find_metric(m), cuts.get(m, [None] * len(every))
                found[m] = np.stack([of.replicates(x, drawn, cut) for x, cut in zip(every, at, strict=True)])
        return found

    def compile_ahead(self, entries: int, resamples: int) -> None:
        """Compile what `replicates` of so many entries will run, where that is worth it."""
        self.resamples(resamples, 0).compile_ahead(entries, [m for m in self.metrics if m in METRICS])

    def interval(self, metric: str, value: float, drawn: Floats, level: float) -> dict[str, Any]:
        """Return the percentile interval, or one on the logit scale of a metric that is a `fraction`."""
        ends = percentiles(drawn, level)
        if find_metric(metric).fraction and ends["low"] is not None:
            low, high = logit_interval(value, drawn, self._fewer, level)
            ends = {"low": low, "high": high, "interval": "logit"}
        return ends

    def contributions(self, scores: PairScores, metric: str) -> Floats:
        """Return what each pair contributes to a metric (n,)."""
        return find_metric(metric).contributions(scores.similarity, self.labels)

    def resamples(self, resamples: int, seed: int) -> Resamples:
        """Return the resamples of the pairs."""
        return Resamples(self.labels, resamples, seed=seed, key=self.task)

    def like(self, other: Truth) -> bool:
        """Whether both have the same labels."""
        return isinstance(other, PairLabels) and np.array_equal(self.labels, other.labels)
