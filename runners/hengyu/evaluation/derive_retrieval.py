"""From what indexes found to records: quality with paired intervals, differences to exact search, sizes, means."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hengyu.base.progress import Progress
from hengyu.evaluation.cells import Row, between, blank_record, interval_of
from hengyu.evaluation.derive import Derived
from hengyu.evaluation.query_bootstrap import group_sums, mean_replicates
from hengyu.storage.records import Record
from hengyu.storage.records.observations import Observation
from hengyu.suites.plan import Plan
from hengyu.tasks.ranking import QUALITY, scores

__all__ = ["SIZES", "derive_retrieval"]

SIZES = ("bytes-per-vector", "index-bytes")

Floats = NDArray[np.float64]


class _Column:
    """The rows of one task, or of the mean over tasks: values and replicates by row, metric and seed."""

    def __init__(self) -> None:
        self.values: dict[Row, list[dict[str, float]]] = defaultdict(list)
        self.replicates: dict[Row, list[dict[str, Floats]]] = defaultdict(list)
        self.seeds: dict[Row, list[int | None]] = defaultdict(list)
        self.dims: dict[Row, int | None] = {}
        self.failed: dict[Row, tuple[str, str]] = {}
        self.n = 0

    @property
    def rows(self) -> list[Row]:
        return list(dict.fromkeys((*self.dims, *self.failed)))

    def drawn(self, row: Row, metric: str) -> Floats:
        """Return the replicates (resamples,) of a row's mean over its seeds."""
        return np.asarray(np.mean([draw[metric] for draw in self.replicates[row]], axis=0))


def derive_retrieval(plan: Plan, seen_of: Callable[[str], Sequence[Observation]], progress: Progress) -> Derived:
    """Return all numbers of a run of a retrieval suite; its tasks are read one after the other, as `derive` does."""
    columns: dict[str, _Column] = {}
    records: list[Record] = []
    with progress.stage("intervals", len(plan.tasks)) as tick:
        for number, task in enumerate(plan.tasks):
            columns[task.name] = _column(plan, task.name, seen_of(task.name))
            records += _records(plan, task.name, columns[task.name])
            tick(number + 1)
    if len(columns) > 1:
        records += _records(plan, "mean", _mean(columns))
    return Derived(records, [], [])


def _column(plan: Plan, task: str, seen: Sequence[Observation]) -> _Column:
    """Return what a task's entries are worth; all of them under the same resamples.

    Queries that relevance connects are drawn together: the two sentences of a pair ask for each other, and are no two
    chances to be right.
    """
    relevance, suite = plan.relevance[task], plan.suite
    column = _Column()
    column.n = len(relevance.queries)
    sizes = np.bincount(relevance.groups).astype(np.float64)
    per_group: list[Floats] = []
    places: list[tuple[Row, dict[str, Floats]]] = []
    for o in seen:
        row = (o.meaning["encoder"], o.meaning["pooling"], o.entries[0], o.meaning["fit_on"])
        if o.status != "ok":
            column.failed.setdefault(row, (o.status, o.reason))
            continue
        found = scores(relevance, o.neighbours["ids"], o.neighbours["ranks"])
        values = {metric: float(x.mean()) for metric, x in found.items()}
        column.values[row].append(values | {k: float(v) for k, v in o.index.items()})
        column.seeds[row].append(o.meaning["seed_of_draw"])
        column.dims[row] = o.dims[0]
        drawn: dict[str, Floats] = {}
        column.replicates[row].append(drawn)
        places.append((row, drawn))
        per_group += [group_sums(found[m], relevance.groups) for m in QUALITY]
    if per_group:
        every = mean_replicates(np.stack(per_group, axis=1), sizes, suite.resamples, suite.seed, task)
        for i, (_, drawn) in enumerate(places):
            drawn.update(zip(QUALITY, every[i * len(QUALITY) :], strict=False))
    for row in column.failed:
        column.dims.pop(row, None)  # a row of several seeds of which one failed
    return column


def _mean(columns: dict[str, _Column]) -> _Column:
    """Return the plain mean over tasks of the rows that all tasks have, each task weighing the same."""
    mean = _Column()
    mean.n = sum(c.n for c in columns.values())
    for row in dict.fromkeys(row for c in columns.values() for row in c.rows):
        holes = [task for task, c in columns.items() if row not in c.dims]
        if holes:
            mean.failed[row] = ("incomplete", f"no number for {', '.join(holes)}")
            continue
        parts = list(columns.values())
        mean.dims[row], mean.seeds[row] = parts[0].dims[row], parts[0].seeds[row]
        for draw in range(len(parts[0].values[row])):
            mean.values[row].append(
                {m: float(np.mean([c.values[row][draw][m] for c in parts])) for m in (*QUALITY, "bytes-per-vector")}
            )
            mean.replicates[row].append(
                {m: np.mean([c.replicates[row][draw][m] for c in parts], axis=0) for m in QUALITY}
            )
    return mean


def _records(plan: Plan, task: str, column: _Column) -> list[Record]:
    level = plan.suite.level
    records: list[Record] = []
    for row in column.rows:
        empty = replace(blank_record(plan.suite, task, row, column.n), dim=column.dims.get(row))
        if row in column.failed:
            status, reason = column.failed[row]
            records += [replace(empty, metric=m, status=status, reason=reason) for m in QUALITY]
            continue
        flat = (row[0], row[1], "flat", "none")
        seeds = column.seeds[row]
        drawn = len(seeds) if seeds[0] is not None else None
        empty = replace(empty, bytes=round(np.mean([v["bytes-per-vector"] for v in column.values[row]])))
        for metric in (*QUALITY, *SIZES):
            values = [v[metric] for v in column.values[row] if metric in v]
            if not values:
                continue
            record = replace(empty, metric=metric, value=float(np.mean(values)), seeds=drawn)
            if len(values) > 1:
                record = replace(record, spread=float(np.std(values, ddof=1)))
            if metric in QUALITY:
                mine = column.drawn(row, metric)
                record = replace(record, **between(mine, level))
                if row != flat and flat in column.dims:
                    low, high = interval_of(mine - column.drawn(flat, metric), level)
                    change = float(np.mean(values)) - column.values[flat][0][metric]
                    record = replace(record, delta=change, delta_low=low, delta_high=high)
            records.append(record)
        if drawn is not None:
            records += [
                replace(
                    empty, metric="ndcg@10", seed=seed, draw=True, value=v["ndcg@10"], **between(r["ndcg@10"], level)
                )
                for seed, v, r in zip(seeds, column.values[row], column.replicates[row], strict=True)
                if seed is not None
            ]
    return records
