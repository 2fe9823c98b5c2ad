"""How an entry is observed that compares the two sentences of each pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hengyu.methods.grammar import Dims, Entry
from hengyu.numerics.cloud import means_same
from hengyu.numerics.cloud_sample import CloudSample
from hengyu.storage.records.observations import Observation, load_groups, load_labels, save_labels
from hengyu.tasks.interface.base import Inputs, Task
from hengyu.tasks.interface.data import TaskData
from hengyu.tasks.interface.truth import Truth
from hengyu.tasks.pairs.metric import metric_modules
from hengyu.tasks.pairs.truth import PairLabels
from hengyu.tasks.pairs.vectors import StsVectors, restrict

__all__ = ["PairTask"]


class PairTask(Task):
    """A kind that judges the similarity of every pair; a kind of it says by which metrics (`truth`)."""

    observed_by: ClassVar[tuple[str, ...]] = (StsVectors.__module__,)
    handed_by: ClassVar[tuple[str, ...]] = (__name__,)
    noise: ClassVar[float] = 1.0
    scored: ClassVar[bool] = True

    @classmethod
    def deriving_code(cls) -> tuple[str, ...]:
        """Return the modules that its numbers are derived by: those of the metrics of pairs too, which are found by name."""
        return (*super().deriving_code(), *metric_modules())

    def open(self, inputs: Inputs) -> StsVectors:
        """Read the distinct sentences of the task, and of the split that thresholds are chosen on."""
        task, thresholds = inputs.task, inputs.thresholds
        ids, (first, second) = restrict([task.first, task.second])
        x = inputs.read(ids)
        other = None
        if thresholds:
            other_ids, (a, b) = restrict([thresholds.first, thresholds.second])
            other = (inputs.read(other_ids), a, b)
        labels = task.pairs.labels
        same = means_same(labels, task.pairs.card.scale)
        return StsVectors(x, first, second, inputs.samples(ids, x), labels, other, inputs.fits, inputs.trained, same)

    def observe(
        self,
        vectors: StsVectors,
        entry: Entry,
        dims: Dims,
        cache_key: Mapping[str, Any],
        cloud_sample: CloudSample | None,
    ) -> tuple[Observation, Mapping[str, float]]:
        """Take the similarity of every pair: the cosine, unless the entry names another."""
        got = vectors.observe(entry, dims, cache_key["fit_on"], cache_key["seed_of_draw"], cloud_sample)
        found = (got.entries, got.dims, got.similarity, got.sweep, got.fit)
        return Observation(
            cache_key, *found, threshold_similarity=got.threshold_similarity, too_wide=got.too_wide, clouds=got.clouds
        ), {}

    def save(self, run: Path, tasks: Sequence[TaskData], truths: Mapping[str, Truth]) -> None:
        """Keep labels and groups."""
        save_labels(run, {t.name: t.pairs.labels for t in tasks}, {t.name: truths[t.name].groups for t in tasks})

    def load(self, run: Path, task: str) -> Truth | None:
        """Return the labels that a run kept, to be compared in the `compared` metrics."""
        labels = load_labels(run).get(task)
        if labels is None:
            return None
        groups = load_groups(run).get(task)
        if groups is None or groups.shape != labels.shape:  # as of a run whose pairs share no sentence
            groups = np.arange(len(labels))
        kept = groups
        return PairLabels(task, labels, lambda: kept, self.compared)
