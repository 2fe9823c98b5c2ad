"""From observations to records: metrics, paired intervals, differences to raw, means. Nothing is encoded or fitted here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.progress import Progress
from hengyu.evaluation.cells import BINARY, GRADED, Cell, Row, average, between, blank_record, delta, task_cells
from hengyu.evaluation.differences import differences
from hengyu.evaluation.rank_intervals import standings
from hengyu.numerics import metrics
from hengyu.numerics.resampling import logit_interval
from hengyu.storage.records import Difference, Record, Standing
from hengyu.storage.records.observations import Observation
from hengyu.suites.grammar import parse_entry
from hengyu.suites.plan import Plan, TaskData

__all__ = ["Derived", "derive", "fits_seen"]

Floats = NDArray[np.float64]
_OF_CLASSES = ("auc", "ap")  # whose percentile intervals are too short where one class is small


@dataclass(frozen=True)
class Derived:
    """What follows from a run's observations: its numbers, differences and standings."""

    records: list[Record]
    differences: list[Difference]
    standings: list[Standing]


def derive(plan: Plan, seen_of: Callable[[str], Sequence[Observation]], progress: Progress) -> Derived:
    """Return all numbers of a run; ``seen_of`` reads what was seen of a task, and the tasks are read one after the other."""
    records: list[Record] = []
    columns: dict[str, dict[Row, Cell]] = {}
    with progress.stage("intervals", len(plan.tasks)) as tick:
        for number, task in enumerate(plan.tasks):
            columns[task.name], found = _of_task(plan, task, seen_of(task.name))
            records += found
            tick(number + 1)
    records += _aggregates(plan, columns)
    return Derived(records, differences(plan, columns), standings(columns, plan.suite.level))


def _of_task(plan: Plan, task: TaskData, seen: Sequence[Observation]) -> tuple[dict[Row, Cell], list[Record]]:
    """Return the cells of a task without what was seen of its pairs, as means and differences take them, and its records."""
    cells = task_cells(plan, task, seen)
    records = _task_records(plan, task, cells) + _sweep_records(plan, task, seen)
    return {row: cell.reduced("spearman") for row, cell in cells.items()}, records


def _task_records(plan: Plan, task: TaskData, cells: dict[Row, Cell]) -> list[Record]:
    suite = plan.suite
    ceiling = metrics.ceiling(task.pairs.labels)
    names = BINARY if task.pairs.card.binary else GRADED
    positive = int(np.count_nonzero(task.pairs.labels == 1.0))
    fewer = min(positive, task.n - positive)
    threshold_on = plan.thresholds[task.name].name if task.name in plan.thresholds else task.name
    records = []
    for cell in cells.values():
        raw = cells.get((cell.row[0], cell.row[1], "raw", "none"))
        empty = _record(plan, task.name, cell.row, metric="spearman", n=task.n, dim=cell.dim, ceiling=ceiling)
        if not cell.whole:
            records += [replace(empty, metric=m, status=cell.status, reason=cell.reason) for m in names]
            continue
        for metric in names:
            record = replace(
                empty,
                metric=metric,
                ceiling=ceiling if metric == "spearman" else None,
                threshold=cell.thresholds.get(metric),
                threshold_on=threshold_on if metric in cell.thresholds else "",
                **_numbers(cell, metric, suite.level, fewer),
            )
            if raw is not None and raw.whole and raw is not cell:
                record = replace(record, **delta(cell, raw, metric, suite.level))
            records.append(record)
            if metric == "spearman":
                records.append(_share(record, ceiling))
                records += [
                    replace(empty, seed=d.seed, draw=True, **_numbers(d, metric, suite.level))
                    for d in cell.draws
                    if d.seed is not None
                ]
    return records


def _share(record: Record, ceiling: float) -> Record:
    """Return a Spearman as a share of what the labels allow."""
    scaled: dict[str, Any] = {
        key: None if number is None else number / ceiling
        for key, number in (
            ("value", record.value),
            ("low", record.low),
            ("high", record.high),
            ("spread", record.spread),
        )
    }
    blank: dict[str, Any] = dict.fromkeys(("ceiling", "delta", "delta_low", "delta_high"))
    return replace(record, metric="ceiling-share", **scaled, **blank)


def _numbers(cell: Cell, metric: str, level: float, fewer: int = 0) -> dict[str, Any]:
    """Return what a record has of a metric; ``fewer`` is the number of pairs in the smaller of two classes."""
    value, drawn = float(cell.values[metric]), cell.replicates[metric]
    ends = between(drawn, level)
    if metric in _OF_CLASSES and ends["low"] is not None:
        low, high = logit_interval(value, drawn, fewer, level)
        ends = {"low": low, "high": high, "interval": "logit"}
    return {"value": value, "spread": cell.spread(metric), **ends, "seeds": len(cell.draws) or None}


def _record(plan: Plan, task: str, row: Row, *, metric: str, n: int, dim: int | None = None, **more: Any) -> Record:
    size = None if dim is None or row[0] in plan.suite.baselines else _bytes(row[2], dim)
    return replace(blank_record(plan.suite, task, row, n), metric=metric, dim=dim, bytes=size, **more)


@cache
def _bytes(entry: str, dim: int) -> int:
    return parse_entry(entry).bytes_per_vector(dim)


def _sweep_records(plan: Plan, task: TaskData, seen: Sequence[Observation]) -> list[Record]:
    """A Spearman for every dimension of a sweep, with the interval of the delta method."""
    from scipy.special import ndtri

    reach = float(ndtri((1 + plan.suite.level) / 2))
    ceiling = metrics.ceiling(task.pairs.labels)
    records = []
    for o in seen:
        for dim, value, error in zip(*(o.sweep.get(k, ()) for k in ("dim", "value", "error")), strict=True):
            entry = str(parse_entry(o.meaning["entry"]).with_dim(int(dim)))
            row = (o.meaning["encoder"], o.meaning["pooling"], entry, o.meaning["fit_on"])
            record = _record(
                plan, task.name, row, metric="spearman", n=task.n, dim=int(dim), ceiling=ceiling, sweep=True
            )
            if np.isfinite(value) and np.isfinite(error):
                low, high = max(-1.0, value - reach * error), min(1.0, value + reach * error)
                record = replace(record, value=float(value), low=float(low), high=float(high), interval="delta")
            else:
                record = replace(record, status="degenerate", reason="the scores are all the same")
            records.append(record)
    return records


def _aggregates(plan: Plan, columns: dict[str, dict[Row, Cell]]) -> list[Record]:
    """Means of Spearman over the splits of a card (avg, w-avg), and over the tasks (mean, w-mean); columns gets their cells."""
    splits: dict[str, list[TaskData]] = defaultdict(list)
    for task in plan.tasks:
        splits[task.pairs.card.name].append(task)
    rows = list(dict.fromkeys(row for cells in columns.values() for row in cells))
    sizes = {t.name: t.n for t in plan.tasks}
    records = []
    tops: list[str] = []  # the columns that the means over tasks are taken of
    for card, tasks in splits.items():
        names = [t.name for t in tasks]
        if len(names) == 1:
            tops += names
            continue
        for kind in ("avg", "w-avg"):
            column = f"{card}:{kind}"
            columns[column], sizes[column] = {}, sum(t.n for t in tasks)
            for row in rows:
                record, cell = _mean(plan, column, row, names, sizes, columns, weighted=kind == "w-avg")
                records.append(replace(record, split="+".join(t.pairs.split for t in tasks)))
                if cell:
                    columns[column][row] = cell
        tops += [f"{card}:{plan.suite.aggregate}"] if plan.suite.aggregate else names
    columns |= {"mean": {}, "w-mean": {}}
    for row in rows:
        for kind in ("mean", "w-mean"):
            record, cell = _mean(plan, kind, row, tops, sizes, columns, weighted=kind == "w-mean")
            records.append(record)
            if cell:
                columns[kind][row] = cell
    return records


def _mean(
    plan: Plan,
    name: str,
    row: Row,
    parts: Sequence[str],
    sizes: dict[str, int],
    columns: dict[str, dict[Row, Cell]],
    *,
    weighted: bool,
) -> tuple[Record, Cell | None]:
    """Return the mean of a row over columns, with its interval; a row with a hole has no mean."""
    empty = _record(plan, name, row, metric="spearman", n=sum(sizes[p] for p in parts))
    weights = np.array([float(sizes[p]) if weighted else 1.0 for p in parts])
    weights /= weights.sum()

    def over(of: Row) -> Cell | None:
        cells = [columns[p].get(of) for p in parts]
        whole = [c for c in cells if c is not None and "spearman" in c.replicates]
        return average(whole, weights) if len(whole) == len(parts) else None

    mean = over(row)
    if mean is None:
        holes = [p for p in parts if "spearman" not in getattr(columns[p].get(row), "replicates", ())]
        return replace(empty, status="incomplete", reason=f"no number for {', '.join(holes)}"), None
    level = plan.suite.level
    known = _record(plan, name, row, metric="spearman", n=empty.n, dim=mean.dim)
    record = replace(known, **_numbers(mean, "spearman", level))
    raw = over((row[0], row[1], "raw", "none")) if row[2] != "raw" else None
    if raw is not None:
        record = replace(record, **delta(mean, raw, "spearman", level))
    return record, mean


def fits_seen(seen: Sequence[Observation]) -> list[dict[str, Any]]:
    """Return what each fit found, for the provenance page."""
    keys = ("task", "encoder", "pooling", "entry", "fit_on", "fit_splits")
    found = []
    for o in seen:
        if o.fit:
            seed = o.meaning.get("seed_of_draw")
            found.append({**{k: o.meaning[k] for k in keys}, **o.fit} | ({} if seed is None else {"seed": seed}))
    return found
