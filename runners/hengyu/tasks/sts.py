"""Semantic textual similarity: the cosine of every pair beside its label, by rank correlation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from functools import partial

from hengyu.tasks.interface.base import Average, Metric
from hengyu.tasks.interface.data import TaskData
from hengyu.tasks.pairs.groups import pair_groups
from hengyu.tasks.pairs.metric import pair_metrics
from hengyu.tasks.pairs.observing import PairTask
from hengyu.tasks.pairs.raters import AGREED, RatedPairs
from hengyu.tasks.pairs.truth import PairLabels

__all__ = ["TASK", "Sts"]


class Sts(PairTask):
    """Similarity of pairs, judged by Spearman; with binary labels by decisions too."""

    name = "sts"
    metrics = (
        *(Metric(m.name, m.title) for m in pair_metrics()),
        Metric(
            AGREED, "Spearman where raters agree", "Spearman of the half of the pairs on which the raters differ least"
        ),
        Metric("ceiling-share", "Spearman as a share of its ceiling"),
    )
    main = "spearman"
    compared = ("spearman",)
    averaged = ("spearman",)
    swept = "spearman"
    refused = {"relevant": "is of retrieval suites; leave it out, or set kind = 'retrieval'"}
    decides = True
    sampled = True
    bounded = True
    observed_by = ()

    def truth(self, task: TaskData, thresholds: TaskData | None, relevant: float | None) -> PairLabels:
        """Return the labels, and those of the split that thresholds are chosen on where they are binary."""
        card, ratings = task.pairs.card, task.pairs.ratings
        metrics = tuple(m.name for m in pair_metrics() if card.binary or not m.binary)
        truth = PairLabels(
            task.name,
            task.pairs.labels,
            partial(pair_groups, task.first, task.second),
            metrics,
            thresholds.pairs.labels if thresholds else None,
            task.ceiling,
            thresholds.name if thresholds else task.name,
        )
        if card.raters is None or ratings is None:
            return truth
        known = {f.name: getattr(truth, f.name) for f in fields(truth)} | {"metrics": (*metrics, AGREED)}
        return RatedPairs(**known, ratings=ratings, named=bool(card.raters.columns), human=card.raters.kind == "human")

    def averages(self, tasks: Sequence[TaskData], aggregate: str) -> list[Average]:
        """Return the means over the splits of each card, plain and weighted, and over the tasks (`Suite.aggregate`)."""
        splits: dict[str, list[TaskData]] = defaultdict(list)
        for task in tasks:
            splits[task.pairs.card.name].append(task)
        found: list[Average] = []
        tops: list[str] = []  # the columns that the means over tasks are taken of
        for card, own in splits.items():
            names = tuple(t.name for t in own)
            if len(names) == 1:
                tops += names
                continue
            split = "+".join(t.pairs.split for t in own)
            found += [Average(f"{card}:{kind}", names, kind == "w-avg", split) for kind in ("avg", "w-avg")]
            tops += [f"{card}:{aggregate}"] if aggregate else names
        return [*found, Average("mean", tuple(tops)), Average("w-mean", tuple(tops), weighted=True)]


TASK = Sts
