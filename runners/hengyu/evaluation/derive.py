"""From observations to records: metrics, paired intervals, differences, means. Nothing is encoded or fitted here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.progress import Progress
from hengyu.evaluation.cells import Cell, Row, average, blank_record, delta, task_cells
from hengyu.evaluation.differences import differences
from hengyu.evaluation.rank_intervals import standings
from hengyu.methods.grammar import Entry, parse_entry
from hengyu.storage.records import Difference, Record, Standing
from hengyu.storage.records.observations import Observation
from hengyu.suites.plan import Plan
from hengyu.suites.suite import LEXICAL
from hengyu.tasks.interface.base import Average, Task
from hengyu.tasks.interface.truth import Truth, percentiles

__all__ = ["Derived", "derive", "fits_seen"]

Floats = NDArray[np.float64]
Columns = dict[str, dict[Row, Cell]]


@dataclass(frozen=True)
class Derived:
    """What follows from a run's observations: its numbers, differences and standings."""

    records: list[Record]
    differences: list[Difference]
    standings: list[Standing]


def derive(plan: Plan, seen_of: Callable[[str], Sequence[Observation]], progress: Progress) -> Derived:
    """Return all numbers of a run; ``seen_of`` reads what was seen of a task, and the tasks are read one after the other."""
    kind = plan.suite.task_kind
    records: list[Record] = []
    columns: Columns = {}
    sizes: dict[str, int] = {}
    whole: dict[str, int] = {}  # of samples what they are of: tasks count in means by that
    with progress.stage("intervals", len(plan.tasks)) as tick:
        for number, task in enumerate(plan.tasks):
            truth = plan.truths[task.name]
            columns[task.name], found = _of_task(plan, kind, truth, seen_of(task.name))
            records += found
            sizes[task.name] = truth.n
            whole[task.name] = task.of or truth.n
            tick(number + 1)
    rows = list(dict.fromkeys(row for cells in columns.values() for row in cells))
    for mean in kind.averages(plan.tasks, plan.suite.aggregate):
        for counts in (sizes, whole):
            counts[mean.name] = sum(counts[p] for p in mean.parts)
        records += _label_means(plan, kind, mean, sizes, whole)
        records += _mean_records(plan, kind, mean, rows, sizes, whole, columns)
    records = [r if whole[r.task] == r.n else replace(r, of=whole[r.task]) for r in records]
    stands = standings(columns, kind.main, plan.suite.level) if kind.standings else []
    return Derived(records, differences(plan, columns, kind.main), stands)


def _of_task(plan: Plan, kind: Task, truth: Truth, seen: Sequence[Observation]) -> tuple[dict[Row, Cell], list[Record]]:
    """Return the cells of a task without what was seen of its items, as means and differences take them, and its records."""
    cells = task_cells(plan.suite, truth, seen)
    records = _task_records(plan, kind, truth, cells) + _label_records(plan, truth)
    if kind.swept:
        records += _sweep_records(plan, kind, truth, seen)
    return {row: cell.reduced((*kind.averaged, kind.main)) for row, cell in cells.items()}, records


def _task_records(plan: Plan, kind: Task, truth: Truth, cells: Mapping[Row, Cell]) -> list[Record]:
    level = plan.suite.level
    records = []
    for cell in cells.values():
        reference = cells.get(_reference(kind, cell.row, cells))
        empty = _record(plan, kind, truth.task, cell, truth.n)
        if not cell.is_complete:
            reasons: dict[str, Any] = {"status": cell.status, "reason": cell.reason, "ceiling": truth.ceiling}
            records += [replace(empty, metric=m, **reasons) for m in truth.metrics]
            continue
        for metric in (m for m in (*truth.metrics, *kind.sizes) if m in cell.values):
            decided = metric in cell.thresholds
            record = replace(
                empty,
                metric=metric,
                ceiling=truth.ceiling if metric == kind.main else None,
                threshold=cell.thresholds.get(metric),
                threshold_on=truth.threshold_on if decided else "",
                **_numbers(cell, metric, level, truth),
            )
            if reference is not None and reference is not cell and metric in reference.replicates:
                record = replace(record, **delta(cell, reference, metric, level))
            records.append(record)
            if metric == kind.main:
                if truth.ceiling is not None:
                    records.append(_share(record, truth.ceiling))
                records += _draws(record, cell, metric, level, truth)
    return records


def _label_records(plan: Plan, truth: Truth) -> list[Record]:
    """Return the records of rows that follow from the labels alone."""
    return [
        replace(
            blank_record(plan.suite, truth.task, (name, "-", "raw", "none"), truth.n),
            metric=metric,
            value=found.value,
            low=found.low,
            high=found.high,
            interval="bootstrap" if found.low is not None else "",
        )
        for name, metrics in truth.label_rows().items()
        for metric, found in metrics.items()
    ]


def _label_means(
    plan: Plan, kind: Task, mean: Average, sizes: Mapping[str, int], whole: Mapping[str, int]
) -> list[Record]:
    """Return the means of rows that follow from the labels alone, where each task has them; without intervals."""
    parts = [plan.truths[p].label_rows() for p in mean.parts if p in plan.truths]
    if len(parts) < len(mean.parts) or not parts:
        return []
    weights = [float(whole[p]) if mean.weighted else 1.0 for p in mean.parts]
    n = sizes[mean.name]
    found = []
    for name in parts[0]:
        values = [rows[name][kind.main].value for rows in parts if kind.main in rows.get(name, {})]
        if len(values) == len(parts):
            empty = blank_record(plan.suite, mean.name, (name, "-", "raw", "none"), n)
            value = float(np.average(values, weights=weights))
            found.append(replace(empty, metric=kind.main, value=value, split=mean.split or empty.split))
    return found


def _reference(kind: Task, row: Row, rows: Collection[Row]) -> Row:
    """Return the row that another one is compared with.

    Lexical search is compared with the encoder's, where there is one encoder under one pooling.
    """
    found = [r for r in rows if r[2:] == (kind.reference, "none")] if row[0] == LEXICAL else []
    return found[0] if len(found) == 1 else (row[0], row[1], kind.reference, "none")


def _draws(record: Record, cell: Cell, metric: str, level: float, truth: Truth | None) -> list[Record]:
    """Return a record for each seed of a cell that has several."""
    blank: dict[str, Any] = dict.fromkeys(("delta", "delta_low", "delta_high", "threshold"))
    return [
        replace(record, seed=d.seed, draw=True, **blank, **_numbers(d, metric, level, truth))
        for d in cell.draws
        if d.seed is not None
    ]


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


def _numbers(cell: Cell, metric: str, level: float, truth: Truth | None) -> dict[str, Any]:
    """Return what a record has of a metric; a mean over tasks has no ``truth`` of its own."""
    value, drawn = float(cell.values[metric]), cell.replicates.get(metric)
    ends: dict[str, Any] = {}
    if drawn is not None:
        ends = truth.interval(metric, value, drawn, level) if truth else percentiles(drawn, level)
    return {"value": value, "spread": cell.spread(metric), **ends, "seeds": len(cell.draws) or None}


def _record(plan: Plan, kind: Task, task: str, cell: Cell, n: int, split: str = "") -> Record:
    """Return the record of a cell before any number is in it."""
    empty = blank_record(plan.suite, task, cell.row, n)
    size = None
    if cell.dim is not None and cell.row[0] not in plan.suite.baselines:
        size = kind.bytes_per_vector(_entry(cell.row[2]), cell.dim, cell.values)
    return replace(empty, dim=cell.dim, bytes=size, split=split or empty.split)


@cache
def _entry(text: str) -> Entry:
    return parse_entry(text)


def _sweep_records(plan: Plan, kind: Task, truth: Truth, seen: Sequence[Observation]) -> list[Record]:
    """Return a record for every dimension of a sweep, with the interval of the delta method."""
    from scipy.special import ndtri

    reach = float(ndtri((1 + plan.suite.level) / 2))
    records = []
    for o in seen:
        for dim, value, error in zip(*(o.sweep.get(k, ()) for k in ("dim", "value", "error")), strict=True):
            entry = str(_entry(o.cache_key["entry"]).with_dim(int(dim)))
            row = (o.cache_key["encoder"], o.cache_key["pooling"], entry, o.cache_key["fit_on"])
            record = _record(plan, kind, truth.task, Cell(row, int(dim)), truth.n)
            record = replace(record, metric=kind.swept, ceiling=truth.ceiling, sweep=True)
            if np.isfinite(value) and np.isfinite(error):
                low, high = max(-1.0, value - reach * error), min(1.0, value + reach * error)
                record = replace(record, value=float(value), low=float(low), high=float(high), interval="delta")
            else:
                record = replace(record, status="degenerate", reason="the scores are all the same")
            records.append(record)
    return records


def _mean_records(
    plan: Plan,
    kind: Task,
    mean: Average,
    rows: Sequence[Row],
    sizes: Mapping[str, int],
    of: Mapping[str, int],
    columns: Columns,
) -> list[Record]:
    """Return the records of the rows of a mean over columns; ``columns`` get its own.

    A row with a hole has no mean.
    """
    level = plan.suite.level
    n = sizes[mean.name]
    weights = np.array([float(of[p]) if mean.weighted else 1.0 for p in mean.parts])
    weights /= weights.sum()
    cells: dict[Row, Cell] = {}
    for row in rows:
        parts = [columns[p].get(row) for p in mean.parts]
        whole = [c for c in parts if c is not None and kind.main in c.replicates]
        if len(whole) == len(parts):
            cells[row] = average(whole, weights, kind.averaged)
    columns[mean.name] = cells
    records: list[Record] = []
    for row in rows:
        cell = cells.get(row)
        empty = _record(plan, kind, mean.name, cell or Cell(row, None), n, mean.split)
        if cell is None:
            holes = [p for p in mean.parts if kind.main not in getattr(columns[p].get(row), "replicates", ())]
            why: dict[str, Any] = {"status": "incomplete", "reason": f"no number for {', '.join(holes)}"}
            records += [replace(empty, metric=m, **why) for m in kind.averaged if m not in kind.sizes]
            continue
        other = _reference(kind, row, cells)
        reference = cells.get(other) if row != other else None
        for metric in (m for m in kind.averaged if m in cell.values):
            record = replace(empty, metric=metric, **_numbers(cell, metric, level, None))
            if reference is not None and metric in cell.replicates and metric in reference.replicates:
                record = replace(record, **delta(cell, reference, metric, level))
            records.append(record)
            if mean.draws and metric == kind.main:
                records += _draws(record, cell, metric, level, None)
    return records


def fits_seen(seen: Sequence[Observation]) -> list[dict[str, Any]]:
    """Return what each fit found, for the provenance page."""
    keys = ("task", "encoder", "pooling", "entry", "fit_on", "fit_splits")
    found = []
    for o in seen:
        if o.fit:
            seed = o.cache_key.get("seed_of_draw")
            found.append({**{k: o.cache_key[k] for k in keys}, **o.fit} | ({} if seed is None else {"seed": seed}))
    return found
