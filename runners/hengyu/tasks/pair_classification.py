"""Pair classification: pairs that mean the same or not, told apart by their similarity, like C-MTEB's Ocnli and Cmnli."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate, HengyuError
from hengyu.methods.grammar import Dims, Entry
from hengyu.numerics.cloud_sample import CloudSample
from hengyu.storage.records.observations import Observation
from hengyu.tasks.interface.base import Metric
from hengyu.tasks.interface.data import TaskData
from hengyu.tasks.interface.truth import Measured
from hengyu.tasks.pairs.groups import pair_groups
from hengyu.tasks.pairs.observing import PairTask
from hengyu.tasks.pairs.truth import PairLabels, PairScores
from hengyu.tasks.pairs.vectors import StsVectors

__all__ = ["TASK", "PairClassification"]

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

_MEASURES = ("dot", "euclidean", "manhattan")  # beside the cosine, as mteb has them
_BEST = {"max-ap": "ap", "max-f1": "f1", "max-accuracy": "accuracy"}  # the best of all measures -> of one
_OWN = ("ap", "f1", "accuracy")
_BLOCK = 1024  # pairs at a time


@dataclass(frozen=True)
class MeasuredPairs(PairLabels):
    """Binary labels, which the cosine and other measures are judged by."""

    def scores(self, tensors: Mapping[str, NDArray[Any]], row: int) -> PairScores | None:
        """Return a row's similarities by every measure; a baseline without vectors has the cosine alone."""
        cosine = super().scores(tensors, row)
        if cosine is None:
            return None
        known = (tensors.get(f"measures.{name}") for name in _MEASURES)
        return cosine._replace(others=tuple(np.asarray(x[row], np.float64) for x in known if x is not None))

    def value(self, scores: PairScores, metric: str) -> float:
        """Return the value of a metric, over all measures the best one of a "max" metric; raises `Degenerate`."""
        if metric not in _BEST:
            return super().value(scores, metric)
        return max(self._by_measure(scores, _BEST[metric]))

    def measure(self, scores: PairScores) -> Measured:
        """Return the values of all metrics; "max" metrics choose their thresholds on the task itself, as mteb does."""
        found = PairLabels.measure(replace(self, metrics=_OWN), scores)
        return Measured({**found.values, **{m: self.value(scores, m) for m in _BEST}}, found.thresholds)

    def replicates(
        self,
        scores: Sequence[PairScores],
        metrics: Sequence[str],
        resamples: int,
        seed: int,
        thresholds: Sequence[Mapping[str, float]] = (),
    ) -> dict[str, Floats]:
        """Return the replicates (entries, resamples); those of a "max" metric are the best of all measures each time."""
        own, best = [m for m in metrics if m not in _BEST], [m for m in metrics if m in _BEST]
        found = super().replicates(scores, own, resamples, seed, thresholds)
        every = [(e, PairScores(x)) for e, one in enumerate(scores) for x in (one.similarity, *one.others)]
        if best:
            parts = super().replicates([x for _, x in every], [_BEST[m] for m in best], resamples, seed)
            of = np.array([e for e, _ in every])
            for m in best:
                drawn = parts[_BEST[m]]
                found[m] = np.stack([np.fmax.reduce(drawn[of == e], axis=0) for e in range(len(scores))])
        return found

    def interval(self, metric: str, value: float, drawn: Floats, level: float) -> dict[str, Any]:
        """Return the interval, as that of the metric of one measure."""
        return super().interval(_BEST.get(metric, metric), value, drawn, level)

    def _by_measure(self, scores: PairScores, metric: str) -> list[float]:
        """Return the value by the cosine, and by every other measure that has one."""
        found = [super().value(scores, metric)]
        for other in scores.others:
            try:
                found.append(super().value(PairScores(other), metric))
            except Degenerate:
                continue
        return found


class PairClassification(PairTask):
    """Pairs of two classes, judged by the cosine, and by mteb's best of four measures."""

    name = "pair-classification"
    metrics = (
        Metric("ap", "Average precision", "average precision of the cosine, x 100"),
        Metric("f1", "F1", "F1 of the cosine at the threshold that is best on valid, or on the task where it has none"),
        Metric("accuracy", "Accuracy", "accuracy of the cosine at such a threshold, x 100"),
        Metric("max-ap", "Max AP", "mteb's max_ap: the best of cosine, dot product, Euclidean and Manhattan distance"),
        Metric("max-f1", "Max F1", "mteb's max_f1: the best measure at the threshold that is best on the task itself"),
        Metric("max-accuracy", "Max accuracy", "mteb's max_accuracy, its main score: as max F1"),
    )
    main = "ap"
    compared = ("ap",)
    averaged = ("ap", "f1", "accuracy", "max-ap", "max-f1", "max-accuracy")
    refused = {"relevant": "is of retrieval suites; leave it out, or set kind = 'retrieval'"}
    decides = True
    sampled = True
    published_main = "max-accuracy"

    def truth(self, task: TaskData, thresholds: TaskData | None, relevant: float | None) -> MeasuredPairs:
        """Return the labels, and those of the split that thresholds are chosen on; raises `HengyuError` for graded ones."""
        if not task.pairs.card.binary:
            raise HengyuError(
                f"task '{task.name}': its labels are graded, and pair classification needs 0 and 1; name another task, or "
                "set kind = 'sts'"
            )
        return MeasuredPairs(
            task.name,
            task.pairs.labels,
            partial(pair_groups, task.first, task.second),
            tuple(m.name for m in self.metrics),
            thresholds.pairs.labels if thresholds else None,
            threshold_on=thresholds.name if thresholds else task.name,
            limit=1.0,
        )

    def observe(
        self,
        vectors: StsVectors,
        entry: Entry,
        dims: Dims,
        cache_key: Mapping[str, Any],
        cloud_sample: CloudSample | None,
    ) -> tuple[Observation, Mapping[str, float]]:
        """Take the cosine of every pair, and its dot product and distances; of an entry by another similarity, that alone."""
        seen, costs = super().observe(vectors, entry, dims, cache_key, cloud_sample)
        if entry.similarity is not None:
            return seen, costs
        whole = entry.with_dim(None) if entry.nested else entry
        x = vectors.mapped(whole, cache_key["fit_on"], cache_key["seed_of_draw"])
        rows = [_measured(x[:, :dim], vectors.first, vectors.second) for dim in seen.dims]
        return replace(seen, measures={name: np.stack([row[name] for row in rows]) for name in _MEASURES}), costs


def _measured(x: NDArray[Any], first: Ids, second: Ids) -> dict[str, Floats]:
    """Return dot product, and negative Euclidean and Manhattan distance, of every pair (n,) of rows of x (m, d)."""
    found = {name: np.empty(len(first)) for name in _MEASURES}
    for start in range(0, len(first), _BLOCK):
        part = slice(start, start + _BLOCK)
        a, b = (np.asarray(x[rows[part]], np.float64) for rows in (first, second))
        found["dot"][part] = np.einsum("nd,nd->n", a, b)
        found["euclidean"][part] = -np.linalg.norm(a - b, axis=1)
        found["manhattan"][part] = -np.abs(a - b).sum(axis=1)
    return found


TASK = PairClassification
