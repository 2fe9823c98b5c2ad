"""From observations to records: metrics, paired intervals, differences to raw, means. Nothing is encoded or fitted here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu import metrics
from hengyu.entries import parse_entry
from hengyu.errors import Degenerate
from hengyu.observations import Observation
from hengyu.plan import Plan, TaskData
from hengyu.progress import Progress
from hengyu.records import Record
from hengyu.stats import Resamples, interval

__all__ = ["derive"]

Floats = NDArray[np.float64]
Row = tuple[str, str, str, str]  # encoder, pooling, entry, fit_on
GRADED = ("spearman", "pearson")
BINARY = (*GRADED, "auc", "ap", "f1", "accuracy")


@dataclass
class _Cell:
    """One row's part of one task: the scores, then values and replicates by metric."""

    row: Row
    dim: int | None
    scores: Floats | None
    beside: Floats | None = None
    status: str = "ok"
    reason: str = ""
    values: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    replicates: dict[str, Floats] = field(default_factory=dict)


def derive(plan: Plan, seen: Sequence[Observation], progress: Progress) -> tuple[list[Record], list[dict[str, Any]]]:
    """Return the records of a run, and what its fits found."""
    by_task: dict[str, list[Observation]] = defaultdict(list)
    for observation in seen:
        by_task[observation.meaning["task"]].append(observation)
    records: list[Record] = []
    columns: dict[str, dict[Row, _Cell]] = {}
    with progress.stage("intervals", len(plan.tasks)) as tick:
        for number, task in enumerate(plan.tasks):
            columns[task.name] = _task_cells(plan, task, by_task[task.name])
            records += _task_records(plan, task, columns[task.name])
            records += _sweep_records(plan, task, by_task[task.name])
            tick(number + 1)
    records += _aggregates(plan, columns)
    return records, _fits(plan, seen)


def _task_cells(plan: Plan, task: TaskData, seen: Sequence[Observation]) -> dict[Row, _Cell]:
    """Return the cells of a task by row, each with its values and replicates."""
    cells: dict[Row, _Cell] = {}
    for o in seen:
        for k, entry in enumerate(o.entries):
            row = (o.meaning["encoder"], o.meaning["pooling"], entry, o.meaning["fit_on"])
            if row in cells:
                continue
            if o.status != "ok":
                cells[row] = _Cell(row, None, None, None, o.status, o.reason)
            else:
                beside = o.beside[k] if len(o.beside) else None
                cells[row] = _Cell(row, o.dims[k], o.similarity[k], beside)
    labels = task.pairs.labels
    binary = task.pairs.card.binary
    threshold_labels = plan.thresholds[task.name].pairs.labels if task.name in plan.thresholds else None
    for cell in cells.values():
        if cell.scores is not None:
            try:
                _point(cell, cell.scores, labels, threshold_labels if binary else None, binary=binary)
            except Degenerate as e:
                cell.status, cell.reason, cell.scores = "degenerate", str(e), None
    whole = [c for c in cells.values() if c.scores is not None]
    suite = plan.suite
    resamples = Resamples(labels, suite.resamples, seed=suite.seed, key=task.name)
    names = BINARY if binary else GRADED
    scores = [c.scores for c in whole if c.scores is not None]
    thresholds = {m: [c.thresholds[m] for c in whole] for m in ("f1", "accuracy")} if binary else {}
    drawn = resamples.run(scores, metrics=names, thresholds=thresholds) if whole else {}
    for metric, replicates in drawn.items():
        for cell, row in zip(whole, replicates, strict=True):
            cell.replicates[metric] = row
    return cells


def _point(cell: _Cell, scores: Floats, labels: Floats, other: Floats | None, *, binary: bool) -> None:
    """Fill in a cell's values; thresholds come from the other split where there is one."""
    cell.values["spearman"] = metrics.spearman(scores, labels)
    cell.values["pearson"] = metrics.pearson(scores, labels)
    if not binary:
        return
    cell.values["auc"] = metrics.auc(scores, labels)
    cell.values["ap"] = metrics.average_precision(scores, labels)
    chosen = (cell.beside, other) if cell.beside is not None and other is not None else (scores, labels)
    cell.thresholds["f1"] = metrics.best_f1(*chosen)[0]
    cell.thresholds["accuracy"] = metrics.best_accuracy(*chosen)[0]
    cell.values["f1"] = metrics.f1_at(scores, labels, cell.thresholds["f1"])
    cell.values["accuracy"] = metrics.accuracy_at(scores, labels, cell.thresholds["accuracy"])


def _task_records(plan: Plan, task: TaskData, cells: dict[Row, _Cell]) -> list[Record]:
    suite = plan.suite
    ceiling = metrics.ceiling(task.pairs.labels)
    names = BINARY if task.pairs.card.binary else GRADED
    threshold_on = plan.thresholds[task.name].name if task.name in plan.thresholds else task.name
    records = []
    for cell in cells.values():
        raw = cells.get((cell.row[0], cell.row[1], "raw", "none"))
        empty = _record(plan, task.name, cell.row, metric="spearman", n=task.n, dim=cell.dim, ceiling=ceiling)
        if cell.scores is None:
            records += [replace(empty, metric=m, status=cell.status, reason=cell.reason) for m in names]
            continue
        for metric in names:
            record = replace(
                empty,
                metric=metric,
                ceiling=ceiling if metric == "spearman" else None,
                threshold=cell.thresholds.get(metric),
                threshold_on=threshold_on if metric in cell.thresholds else "",
                **_numbers(cell.values[metric], cell.replicates[metric], suite.level),
            )
            if raw is not None and raw.scores is not None and raw is not cell:
                record = replace(record, **_delta(cell, raw, metric, suite.level))
            records.append(record)
            if metric == "spearman":
                records.append(_share(record, ceiling))
    return records


def _share(record: Record, ceiling: float) -> Record:
    """Return a Spearman as a share of what the labels allow."""
    scaled: dict[str, Any] = {
        key: None if number is None else number / ceiling
        for key, number in (("value", record.value), ("low", record.low), ("high", record.high))
    }
    blank: dict[str, Any] = dict.fromkeys(("ceiling", "delta", "delta_low", "delta_high"))
    return replace(record, metric="ceiling-share", **scaled, **blank)


def _numbers(value: float, replicates: Floats, level: float) -> dict[str, Any]:
    low, high = _interval(replicates, level)
    found = "bootstrap" if low is not None else ""
    return {"value": float(value), "low": low, "high": high, "interval": found, "status": "ok"}


def _interval(replicates: Floats, level: float) -> tuple[float, float] | tuple[None, None]:
    """Return the percentile interval; none when every resample was constant, as with a handful of pairs."""
    try:
        return interval(replicates, level)
    except Degenerate:
        return None, None


def _delta(cell: _Cell, raw: _Cell, metric: str, level: float) -> dict[str, Any]:
    """The difference to raw, paired: both took the same resamples."""
    low, high = _interval(cell.replicates[metric] - raw.replicates[metric], level)
    return {"delta": cell.values[metric] - raw.values[metric], "delta_low": low, "delta_high": high}


def _record(plan: Plan, task: str, row: Row, *, metric: str, n: int, **more: Any) -> Record:
    encoder, pooling, entry, fit_on = row
    card, _, split = task.partition(":")
    given: dict[str, Any] = {"dim": None, "ceiling": None} | more
    numbers = dict.fromkeys(("value", "low", "high", "delta", "delta_low", "delta_high"))
    base: dict[str, Any] = {"interval": "", "status": "ok", "reason": "", **numbers}
    return Record(
        suite=plan.suite.name,
        task=task,
        card=card if split else "",
        split=split,
        encoder=encoder,
        pooling=pooling,
        entry=entry,
        metric=metric,
        n=n,
        fit_on=fit_on,
        seed=plan.suite.seed,
        **(base | given),
    )


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


def _aggregates(plan: Plan, columns: dict[str, dict[Row, _Cell]]) -> list[Record]:
    """Means of Spearman over the splits of a card (avg, w-avg), and over the tasks (mean, w-mean)."""
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
    for row in rows:
        for kind in ("mean", "w-mean"):
            records.append(_mean(plan, kind, row, tops, sizes, columns, weighted=kind == "w-mean")[0])
    return records


def _mean(
    plan: Plan,
    name: str,
    row: Row,
    parts: Sequence[str],
    sizes: dict[str, int],
    columns: dict[str, dict[Row, _Cell]],
    *,
    weighted: bool,
) -> tuple[Record, _Cell | None]:
    """Return the mean of a row over columns, with its interval; a row with a hole has no mean."""
    empty = _record(plan, name, row, metric="spearman", n=sum(sizes[p] for p in parts))
    weights = np.array([float(sizes[p]) if weighted else 1.0 for p in parts])
    weights /= weights.sum()

    def average(of: Row) -> _Cell | None:
        cells = [columns[p].get(of) for p in parts]
        whole = [c for c in cells if c is not None and "spearman" in c.replicates]
        if len(whole) < len(parts):
            return None
        value = float(weights @ [c.values["spearman"] for c in whole])
        drawn = weights @ np.stack([c.replicates["spearman"] for c in whole])
        return _Cell(of, whole[0].dim, None, values={"spearman": value}, replicates={"spearman": drawn})

    mean = average(row)
    if mean is None:
        holes = [p for p in parts if "spearman" not in getattr(columns[p].get(row), "replicates", ())]
        return replace(empty, status="incomplete", reason=f"no number for {', '.join(holes)}"), None
    level = plan.suite.level
    record = replace(empty, dim=mean.dim, **_numbers(mean.values["spearman"], mean.replicates["spearman"], level))
    raw = average((row[0], row[1], "raw", "none")) if row[2] != "raw" else None
    if raw is not None:
        record = replace(record, **_delta(mean, raw, "spearman", level))
    return record, mean


def _fits(plan: Plan, seen: Sequence[Observation]) -> list[dict[str, Any]]:
    """What each fit found, for the provenance page."""
    keys = ("task", "encoder", "pooling", "entry", "fit_on", "fit_splits")
    return [{**{k: o.meaning[k] for k in keys}, **o.fit} for o in seen if o.fit]
