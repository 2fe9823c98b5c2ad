"""The board: a run's records laid out as rows, columns and cells; pure data, whatever shows it.

The terminal, the page and the Markdown and LaTeX exports all draw the same `Board`, so they cannot disagree on order,
ranks or what is best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hengyu.records import Record, Run

__all__ = ["METRICS", "Board", "Cell", "Column", "Row", "make_board", "metrics_of", "percent"]

METRICS = {
    "spearman": "Spearman",
    "pearson": "Pearson",
    "auc": "Area under the ROC curve",
    "ap": "Average precision",
    "f1": "F1",
    "accuracy": "Accuracy",
    "ceiling-share": "Spearman as a share of its ceiling",
}
MEANS = {
    "mean": "the plain mean of the tasks, each weighing the same; the board is ordered by it",
    "w-mean": "the mean of the tasks weighted by their pairs",
}
_WORDS = {"degenerate": "degen.", "failed": "failed", "unavailable": "n/a", "incomplete": "-", "missing": "-"}

RowKey = tuple[str, str, str, str]  # encoder, pooling, entry, fit_on


def percent(value: float | None, *, signed: bool = False) -> str:
    """Return a number x 100 with two decimals, never ``-0.00``; "" for None."""
    if value is None:
        return ""
    rounded = round(100 * value, 2) + 0.0
    return f"{rounded:+.2f}" if signed else f"{rounded:.2f}"


@dataclass(frozen=True)
class Column:
    """One task, aggregate or mean; ``ceiling`` is the highest Spearman that its labels allow."""

    task: str
    kind: str  # "task", "aggregate" (over the splits of a card), "mean" (over tasks)
    n: int
    ceiling: float | None
    about: str  # one sentence for a reader who meets the column for the first time


@dataclass(frozen=True)
class Cell:
    """One number of the board, or why there is none."""

    record: Record | None = None  # None: this row was never weighed on this task
    share: float | None = None  # of the ceiling
    best: bool = False  # of its column; all that tie are
    note: int = 0  # number of the reason among the board's notes, from 1; 0 for none

    @property
    def status(self) -> str:
        """The record's status, or "missing"."""
        return self.record.status if self.record else "missing"

    @property
    def value(self) -> float | None:
        """The number; None unless the status is ok."""
        return self.record.value if self.record and self.record.status == "ok" else None

    @property
    def text(self) -> str:
        """The number x 100, or a short word for why there is none."""
        if self.value is not None:
            return percent(self.value)
        return _WORDS.get(self.status, self.status) + (f" [{self.note}]" if self.note else "")

    @property
    def interval(self) -> str:
        """``[70.10, 72.30]``, or ""."""
        r = self.record
        return "" if self.value is None or r is None else _between(r.low, r.high)

    @property
    def spread(self) -> str:
        """``± 0.30 over 3 seeds``, ``1 seed``, or "" where nothing is drawn."""
        r = self.record
        if r is None or self.value is None or r.seeds is None:
            return ""
        return "1 seed" if r.spread is None else f"± {percent(r.spread)} over {r.seeds} seeds"

    @property
    def delta(self) -> str:
        """``+1.20``, the difference to raw, or ""."""
        return percent(self.record.delta, signed=True) if self.record and self.value is not None else ""

    @property
    def delta_interval(self) -> str:
        """``[+0.90, +1.50]``, or ""."""
        r = self.record
        return _between(r.delta_low, r.delta_high, signed=True) if r and self.delta else ""

    @property
    def clear(self) -> int:
        """1 or -1 where the interval of the difference lies above or below 0, else 0."""
        r = self.record
        if r is None or r.delta_low is None or r.delta_high is None:
            return 0
        return (r.delta_low > 0) - (r.delta_high < 0)


@dataclass(frozen=True)
class Row:
    """One entry under one encoder, pooling and fit_on."""

    encoder: str
    pooling: str
    entry: str
    fit_on: str
    dim: int | None
    rank: int | None  # by the main column; None for a row with a hole; equal numbers share a rank
    baseline: bool
    cells: tuple[Cell, ...]  # one a column

    @property
    def key(self) -> RowKey:
        """What makes the row."""
        return (self.encoder, self.pooling, self.entry, self.fit_on)


@dataclass(frozen=True)
class Board:
    """One metric of a run as a table."""

    metric: str
    level: float  # of the intervals
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]  # why cells have no number, distinct, in order of appearance
    main: int | None  # the column the rows are ordered by; None where the metric has no mean


def metrics_of(run: Run) -> tuple[str, ...]:
    """Return the metrics of a run, the known ones first in their order."""
    found = dict.fromkeys(r.metric for r in run.records if r.on_board)
    return (*(m for m in METRICS if m in found), *sorted(m for m in found if m not in METRICS))


def make_board(run: Run, metric: str = "spearman") -> Board:
    """Lay out one metric of a run.

    Rows stand by the macro mean, best first, rows with a hole after them in the order they were weighed; a metric
    without means keeps the order of the Spearman board. Points of sweeps and single
    draws are no rows.
    """
    records = [r for r in run.records if r.metric == metric and r.on_board]
    found = {(r.row, r.task): r for r in records}
    columns = _columns(run, records)
    main = next((i for i, c in enumerate(columns) if c.task == "mean"), 0 if len(columns) == 1 else None)
    shares = {
        (r.row, r.task): r.value
        for r in run.records
        if metric == "spearman" and r.metric == "ceiling-share" and r.on_board
    }
    notes: dict[str, int] = {}
    baselines = {str(e.get("encoder")) for e in run.header.get("encoders", ()) if e.get("baseline")}
    rows = []
    for key in dict.fromkeys(r.row for r in records):
        seen = [found.get((key, c.task)) for c in columns]
        cells = tuple(
            Cell(r, shares.get((key, c.task)), note=_note(r, notes)) for r, c in zip(seen, columns, strict=True)
        )
        dim = next((r.dim for r in seen if r and r.dim is not None), None)
        rows.append(Row(*key, dim=dim, rank=None, baseline=key[0] in baselines, cells=cells))
    if main is not None:
        rows = _ranked(rows, main)
    elif metric != "spearman":
        order = {row.key: i for i, row in enumerate(make_board(run).rows)}
        rows.sort(key=lambda row: order.get(row.key, len(order)))
    level = float(run.header.get("suite", {}).get("level") or 0.95)
    return Board(metric, level, columns, _marked(rows, len(columns)), tuple(notes), main)


def _columns(run: Run, records: Sequence[Record]) -> tuple[Column, ...]:
    """Tasks in the header's order, the suite's aggregate after its card's splits, the means last."""
    heads: dict[str, Mapping[str, Any]] = {str(t.get("task")): t for t in run.header.get("tasks", ())}
    first: dict[str, Record] = {}
    for r in records:
        known = first.setdefault(r.task, r)
        if known.ceiling is None and r.ceiling is not None:
            first[r.task] = r
    kind = run.header.get("suite", {}).get("aggregate")
    places = {task: i for i, task in enumerate(dict.fromkeys([*heads, *first]))}
    tops: list[tuple[tuple[int, int], Column]] = []
    for task, r in first.items():
        card, _, split = task.rpartition(":")
        if task in MEANS:
            continue
        if task not in heads and split in ("avg", "w-avg"):
            if split == kind:
                about = f"{'weighted ' if split == 'w-avg' else ''}mean over the splits {r.split} of {card}"
                last = max((places[h] for h in heads if h.startswith(f"{card}:")), default=len(places))
                tops.append(((last, 1), Column(task, "aggregate", r.n, None, about)))
            continue
        head = heads.get(task, {})
        ceiling = r.ceiling if r.ceiling is not None else head.get("ceiling")
        tops.append(((places[task], 0), Column(task, "task", r.n, ceiling, _about(task, r.n, ceiling, head))))
    columns = [column for _, column in sorted(tops, key=lambda item: item[0])]
    if len(columns) > 1:
        columns += [Column(m, "mean", first[m].n, None, about) for m, about in MEANS.items() if m in first]
    return tuple(columns)


def _about(task: str, n: int, ceiling: float | None, head: Mapping[str, Any]) -> str:
    parts = [f"{task}: {n:,} pairs"]
    if head.get("labels"):
        rate = head.get("positive_rate")
        parts.append(f"{head['labels']} labels" + (f", {rate:.1%} of them positive" if rate is not None else ""))
    if ceiling is not None:
        parts.append(f"the labels allow a Spearman of at most {percent(ceiling)}")
    return "; ".join(parts)


def _note(record: Record | None, notes: dict[str, int]) -> int:
    """Number a reason; a mean's hole needs none, the row shows it."""
    if record is None or record.status in ("ok", "incomplete") or not record.reason:
        return 0
    return notes.setdefault(f"{record.status}: {record.reason}", len(notes) + 1)


def _ranked(rows: list[Row], main: int) -> list[Row]:
    whole = [(row.cells[main].value, row) for row in rows]
    ordered = sorted(((v, row) for v, row in whole if v is not None), key=lambda item: -item[0])
    ranked: list[Row] = []
    before: float | None = None
    for place, (value, row) in enumerate(ordered, 1):
        rank = ranked[-1].rank if before is not None and _same(before, value) else place
        ranked.append(replace(row, rank=rank))
        before = value
    return ranked + [row for v, row in whole if v is None]


def _marked(rows: Sequence[Row], width: int) -> tuple[Row, ...]:
    """Mark the best of every column that has more than one number."""
    tops: list[float | None] = []
    for i in range(width):
        values = [v for row in rows if (v := row.cells[i].value) is not None]
        tops.append(max(values) if len(values) > 1 else None)
    return tuple(
        replace(
            row,
            cells=tuple(
                replace(cell, best=top is not None and cell.value is not None and _same(cell.value, top))
                for cell, top in zip(row.cells, tops, strict=True)
            ),
        )
        for row in rows
    )


def _same(a: float, b: float) -> bool:
    return abs(a - b) < 1e-9


def _between(low: float | None, high: float | None, *, signed: bool = False) -> str:
    if low is None or high is None:
        return ""
    return f"[{percent(low, signed=signed)}, {percent(high, signed=signed)}]"
