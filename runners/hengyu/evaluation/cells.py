"""The cells of a task: one a row of the board, with its values and the replicates that its intervals come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate
from hengyu.numerics import metrics
from hengyu.numerics.resampling import Resamples, interval
from hengyu.storage.records import Record
from hengyu.storage.records.observations import Observation
from hengyu.suites.plan import Plan, TaskData
from hengyu.suites.suite import Suite

__all__ = [
    "BINARY",
    "GRADED",
    "JOINT",
    "Cell",
    "Row",
    "average",
    "between",
    "blank_record",
    "delta",
    "interval_of",
    "task_cells",
]

Floats = NDArray[np.float64]
Row = tuple[str, str, str, str]  # encoder, pooling, entry, fit_on
JOINT = "cross-encoder"
"""The entry of rows whose pairs are scored jointly, without vectors: an upper bound, which takes no rank from the others."""

GRADED = ("spearman", "pearson")
BINARY = (*GRADED, "auc", "ap", "f1", "accuracy")


@dataclass
class Cell:
    """One row's part of one task: the scores, then values and replicates by metric.

    Where the row's entry draws random numbers, ``draws`` holds a cell a seed, and values and replicates are their means.
    """

    row: Row
    dim: int | None
    scores: Floats | None
    beside: Floats | None = None
    status: str = "ok"
    reason: str = ""
    seed: int | None = None
    values: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    replicates: dict[str, Floats] = field(default_factory=dict)
    draws: tuple[Cell, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether it has numbers."""
        return self.status == "ok" and bool(self.values)

    def reduced(self, metric: str) -> Cell:
        """Return it with the replicates of one metric, and without the scores of pairs."""
        return replace(
            self,
            scores=None,
            beside=None,
            replicates={m: drawn for m, drawn in self.replicates.items() if m == metric},
            draws=tuple(draw.reduced(metric) for draw in self.draws),
        )

    def spread(self, metric: str) -> float | None:
        """Return the standard deviation of a metric over the seeds; None with fewer than two."""
        values = [d.values[metric] for d in self.draws]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


def task_cells(plan: Plan, task: TaskData, seen: Sequence[Observation]) -> dict[Row, Cell]:
    """Return the cells of a task by row, each with its values and replicates."""
    single = _cells_by_seed(seen)
    labels = task.pairs.labels
    binary = task.pairs.card.binary
    threshold_labels = plan.thresholds[task.name].pairs.labels if task.name in plan.thresholds else None
    for cell in single.values():
        if cell.scores is not None:
            try:
                _point(cell, cell.scores, labels, threshold_labels if binary else None, binary=binary)
            except Degenerate as e:
                cell.status, cell.reason, cell.scores = "degenerate", str(e), None
    whole = [c for c in single.values() if c.scores is not None]
    suite = plan.suite
    resamples = Resamples(labels, suite.resamples, seed=suite.seed, key=task.name)
    names = BINARY if binary else GRADED
    scores = [c.scores for c in whole if c.scores is not None]
    thresholds = {m: [c.thresholds[m] for c in whole] for m in ("f1", "accuracy")} if binary else {}
    drawn = resamples.run(scores, metrics=names, thresholds=thresholds) if whole else {}
    for metric, replicates in drawn.items():
        for cell, row in zip(whole, replicates, strict=True):
            cell.replicates[metric] = row
    groups: dict[Row, list[Cell]] = {}
    for (row, _), cell in single.items():
        groups.setdefault(row, []).append(cell)
    return {row: _together(row, cells) for row, cells in groups.items()}


def _cells_by_seed(seen: Sequence[Observation]) -> dict[tuple[Row, int | None], Cell]:
    cells: dict[tuple[Row, int | None], Cell] = {}
    for o in seen:
        seed = o.meaning.get("seed_of_draw")
        for k, entry in enumerate(o.entries):
            row = (o.meaning["encoder"], o.meaning["pooling"], entry, o.meaning["fit_on"])
            if (row, seed) in cells:
                continue
            if o.status != "ok":
                cells[row, seed] = Cell(row, None, None, None, o.status, o.reason, seed)
            else:
                beside = o.beside[k] if len(o.beside) else None
                cells[row, seed] = Cell(row, o.dims[k], o.similarity[k], beside, seed=seed)
    return cells


def _together(row: Row, cells: list[Cell]) -> Cell:
    """Return the cell of a row: the mean over its seeds; one that failed leaves the row without a number."""
    if cells[0].seed is None:
        return cells[0]
    for cell in cells:
        if not cell.whole:
            return Cell(row, None, None, status=cell.status, reason=f"seed {cell.seed}: {cell.reason}")
    values = {m: float(np.mean([c.values[m] for c in cells])) for m in cells[0].values}
    replicates = {m: np.mean([c.replicates[m] for c in cells], axis=0) for m in cells[0].replicates}
    return Cell(row, cells[0].dim, None, values=values, replicates=replicates, draws=tuple(cells))


def _point(cell: Cell, scores: Floats, labels: Floats, other: Floats | None, *, binary: bool) -> None:
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


def average(cells: Sequence[Cell], weights: Floats) -> Cell:
    """Return the weighted mean of a row's Spearman on several tasks, seed by seed where all have as many."""
    value = float(weights @ [c.values["spearman"] for c in cells])
    drawn = weights @ np.stack([c.replicates["spearman"] for c in cells])
    draws: tuple[Cell, ...] = ()
    if all(len(c.draws) == len(cells[0].draws) for c in cells):
        draws = tuple(average(same, weights) for same in zip(*(c.draws for c in cells), strict=True))
    found = {"values": {"spearman": value}, "replicates": {"spearman": drawn}, "draws": draws}
    return Cell(cells[0].row, cells[0].dim, None, seed=cells[0].seed, **found)  # type: ignore[arg-type]


def interval_of(replicates: Floats, level: float) -> tuple[float, float] | tuple[None, None]:
    """Return the percentile interval; none when every resample was constant, as with a handful of pairs."""
    try:
        return interval(replicates, level)
    except Degenerate:
        return None, None


def between(replicates: Floats, level: float) -> dict[str, Any]:
    """Return the percentile interval as a record has it."""
    low, high = interval_of(replicates, level)
    return {"low": low, "high": high, "interval": "bootstrap" if low is not None else ""}


def blank_record(suite: Suite, task: str, row: Row, n: int) -> Record:
    """Return the record of a row on a task or a mean over some, before any number is in it."""
    card, _, split = task.partition(":")
    encoder, pooling, entry, fit_on = row
    numbers: Any = dict.fromkeys(("dim", "value", "low", "high", "ceiling", "delta", "delta_low", "delta_high"))
    return Record(
        suite=suite.name,
        task=task,
        card=card if split else "",
        split=split,
        encoder=encoder,
        pooling=pooling,
        entry=entry,
        metric="",
        interval="",
        n=n,
        fit_on=fit_on,
        seed=suite.seed,
        status="ok",
        reason="",
        **numbers,
    )


def delta(cell: Cell, raw: Cell, metric: str, level: float) -> dict[str, Any]:
    """Return the paired difference of two cells, as a record has it: both took the same resamples."""
    low, high = interval_of(cell.replicates[metric] - raw.replicates[metric], level)
    return {"delta": cell.values[metric] - raw.values[metric], "delta_low": low, "delta_high": high}
