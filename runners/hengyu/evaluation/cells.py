"""The cells of a task: one a row of the board, with its values and the replicates that its intervals come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate, HengyuError
from hengyu.methods.grammar import parse_entry
from hengyu.storage.records import Record
from hengyu.storage.records.observations import Observation
from hengyu.suites.suite import Suite
from hengyu.tasks.interface.truth import Truth, interval_of

__all__ = ["JOINT", "Cell", "Row", "average", "blank_record", "delta", "scores_jointly", "task_cells"]

Floats = NDArray[np.float64]
Row = tuple[str, str, str, str]  # encoder, pooling, entry, fit_on
JOINT = "cross-encoder"
"""The entry of rows whose pairs are scored jointly, without vectors: an upper bound, which takes no rank from the others."""


def scores_jointly(entry: str) -> bool:
    """Return whether an entry, as its row names it, scores the texts of a pair together; it takes no rank either.

    One that cannot be parsed, like that of a method that is not installed here, does not.
    """
    try:
        return parse_entry(entry).joint
    except HengyuError:
        return False


@dataclass
class Cell:
    """One row's part of one task: the scores, then values and replicates by metric.

    Where the row's entry draws random numbers, ``draws`` holds a cell a seed, and values and replicates are their means.
    """

    row: Row
    dim: int | None
    scores: Any = None  # as the task's truth has them
    status: str = "ok"
    reason: str = ""
    seed: int | None = None
    values: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    replicates: dict[str, Floats] = field(default_factory=dict)
    draws: tuple[Cell, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether it has numbers."""
        return self.status == "ok" and bool(self.values)

    def reduced(self, metrics: Sequence[str]) -> Cell:
        """Return it with the replicates of some metrics alone, and without the scores of items."""
        return replace(
            self,
            scores=None,
            replicates={m: drawn for m, drawn in self.replicates.items() if m in metrics},
            draws=tuple(draw.reduced(metrics) for draw in self.draws),
        )

    def spread(self, metric: str) -> float | None:
        """Return the standard deviation of a metric over the seeds; None with fewer than two."""
        values = [d.values[metric] for d in self.draws if metric in d.values]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


def task_cells(suite: Suite, truth: Truth, seen: Sequence[Observation]) -> dict[Row, Cell]:
    """Return the cells of a task by row, each with its values and replicates."""
    single = _cells_by_seed(truth, seen)
    alike: dict[tuple[str, ...], list[Cell]] = {}  # by the metrics that they have; all take the same resamples
    for c in single.values():
        if c.status == "ok":
            alike.setdefault(truth.metrics_of(c.scores), []).append(c)
    for metrics, whole in alike.items():
        scores, thresholds = [c.scores for c in whole], [c.thresholds for c in whole]
        drawn = truth.replicates(scores, metrics, suite.resamples, suite.seed, thresholds)
        for metric, replicates in drawn.items():
            for cell, row in zip(whole, replicates, strict=True):
                cell.replicates[metric] = row
    groups: dict[Row, list[Cell]] = {}
    for (row, _), cell in single.items():
        groups.setdefault(row, []).append(cell)
    return {row: _together(row, cells) for row, cells in groups.items()}


def _cells_by_seed(truth: Truth, seen: Sequence[Observation]) -> dict[tuple[Row, int | None], Cell]:
    cells: dict[tuple[Row, int | None], Cell] = {}
    for o in seen:
        seed = o.cache_key.get("seed_of_draw")
        for k, entry in enumerate(o.entries):
            row = (o.cache_key["encoder"], o.cache_key["pooling"], entry, o.cache_key["fit_on"])
            if (row, seed) not in cells:
                cells[row, seed] = _cell(truth, o, k, row, seed)
    return cells


def _cell(truth: Truth, seen: Observation, place: int, row: Row, seed: int | None) -> Cell:
    """Return the cell of one entry of an observation under one seed, its replicates left out."""
    if seen.status != "ok":
        return Cell(row, None, None, seen.status, seen.reason, seed)
    scores = truth.scores(seen.tensors, place)
    if scores is None:
        raise ValueError(f"an observation of {row} is not of the items of {truth.task}")
    try:
        measured = truth.measure(scores)
    except Degenerate as e:
        return Cell(row, seen.dims[place], None, "degenerate", str(e), seed)
    values = {**measured.values, **{k: float(v) for k, v in seen.index.items()}}
    return Cell(row, seen.dims[place], scores, seed=seed, values=values, thresholds=dict(measured.thresholds))


def _together(row: Row, cells: list[Cell]) -> Cell:
    """Return the cell of a row: the mean over its seeds; one that failed leaves the row without a number."""
    if cells[0].seed is None:
        return cells[0]
    for cell in cells:
        if not cell.is_complete:
            return Cell(row, None, None, status=cell.status, reason=f"seed {cell.seed}: {cell.reason}")
    values = {m: float(np.mean([c.values[m] for c in cells])) for m in cells[0].values}
    replicates = {m: np.mean([c.replicates[m] for c in cells], axis=0) for m in cells[0].replicates}
    return Cell(row, cells[0].dim, None, values=values, replicates=replicates, draws=tuple(cells))


def average(cells: Sequence[Cell], weights: Floats, metrics: Sequence[str]) -> Cell:
    """Return the weighted mean of a row's metrics on several tasks, seed by seed where all have as many.

    Metrics that a task does not have for the row are left out.
    """
    metrics = [m for m in metrics if all(m in c.values for c in cells)]
    values = {m: float(weights @ [c.values[m] for c in cells]) for m in metrics}
    drawn = {m: weights @ np.stack([c.replicates[m] for c in cells]) for m in metrics if m in cells[0].replicates}
    draws: tuple[Cell, ...] = ()
    if all(len(c.draws) == len(cells[0].draws) for c in cells):
        draws = tuple(average(same, weights, metrics) for same in zip(*(c.draws for c in cells), strict=True))
    return Cell(cells[0].row, cells[0].dim, seed=cells[0].seed, values=values, replicates=drawn, draws=draws)


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
