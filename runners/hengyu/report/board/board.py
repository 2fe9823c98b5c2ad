"""The board: a run's records laid out as rows, columns and cells; pure data, whatever shows it.

The terminal, the page and the Markdown and LaTeX exports all draw the same `Board`, so they cannot disagree on order,
ranks or what is best.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hengyu.evaluation.cells import scores_jointly
from hengyu.report.board.cell import HEATS, Cell, percent
from hengyu.storage.records import Record, Run
from hengyu.storage.records.audits import AuditOf, load_audits
from hengyu.tasks.interface.base import Task
from hengyu.tasks.interface.registry import find_task

__all__ = [
    "Board",
    "Cell",
    "Column",
    "Row",
    "audits_said",
    "constant_names",
    "family_of",
    "make_board",
    "metrics_of",
    "parted",
    "percent",
    "raters_said",
    "several_similarities",
]

MEANS = {
    "mean": "the plain mean of the tasks, with equal weights; the board is ordered by it",
    "w-mean": "the mean of the tasks weighted by their pairs",
}
_UNRANKED = ("cross-encoder", "raters")  # kinds of rows that stand beside those of vectors, and take no rank from them
_NAMED = 3  # collections of texts that an audit is said to have looked in
_PARAMETERS = re.compile(r"\([^()]*\)")

RowKey = tuple[str, str, str, str]  # encoder, pooling, entry, fit_on


@dataclass(frozen=True)
class Column:
    """One task, aggregate or mean; ``ceiling`` is the highest Spearman that its labels allow."""

    task: str
    kind: str  # "task", "aggregate" (over the splits of a card), "mean" (over tasks)
    n: int
    ceiling: float | None
    about: str  # one sentence for a reader who meets the column for the first time
    of: int | None = None  # of a sample, the pairs that n are of
    seen: int | None = None  # the pairs with a sentence that an audit found in other texts, of several audits the most

    @property
    def counted(self) -> str:
        """The number of pairs; of a sample also what it is of."""
        return str(self.n) if self.of is None else f"{self.n:,} of {self.of:,}"


@dataclass(frozen=True)
class Row:
    """One entry under one encoder, pooling and fit_on."""

    encoder: str
    pooling: str
    entry: str
    fit_on: str
    dim: int | None
    rank: (
        int | None
    )  # by the main column; None for a row with a hole, and for an upper bound; equal numbers share a rank
    baseline: bool
    cells: tuple[Cell, ...]  # one a column
    unranked: bool = False  # no vectors, no rank: pairs scored jointly, or one rater
    bytes: int | None = None  # that one vector takes

    @property
    def mark(self) -> str:
        """What is said of the row beside its encoder, "" for nothing."""
        if self.unranked and not self.baseline and self.fit_on != "none":
            return "scores pairs"  # trained on labels: it may well be below those of vectors
        return "baseline" if self.baseline else "upper bound" if self.unranked else ""

    @property
    def key(self) -> RowKey:
        """What makes the row."""
        return (self.encoder, self.pooling, self.entry, self.fit_on)

    @property
    def family(self) -> str:
        """The methods without their parameters."""
        return family_of(self.entry)

    @property
    def similarity(self) -> str:
        """What its vectors are compared by; "-" for a row without vectors."""
        return "-" if self.mark else parted(self.entry)[1]


@dataclass(frozen=True)
class Board:
    """One metric of a run as a table."""

    metric: str
    title: str  # what the metric is called
    level: float  # of the intervals
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]  # why cells have no number, distinct, in order of appearance
    main: int | None  # the column the rows are ordered by; None where the metric has no mean

    @property
    def similarities(self) -> bool:
        """Whether rows differ in their similarity, so that it has a column."""
        return several_similarities(row.entry for row in self.rows)

    @property
    def constant(self) -> dict[str, str]:
        """What all rows share, baselines and upper bounds apart: a column of it would say nothing."""
        return constant_names(
            [
                {
                    **{"encoder": row.encoder, "pooling": row.pooling, "fit_on": row.fit_on},
                    **{"dim": row.dim, "bytes": f"{row.bytes:,}" if row.bytes is not None else None},
                }
                for row in self.rows
                if not row.mark
            ]
        )


def constant_names(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the names that have one value in all of several rows, with it; "" where the value is that nothing is known."""
    if len(rows) < 2:
        return {}
    found = {name: {row[name] for row in rows} for name in rows[0]}
    return {name: str(next(iter(v)) or "") for name, v in found.items() if len(v) == 1}


def metrics_of(run: Run) -> tuple[str, ...]:
    """Return the metrics of a run, the known ones first in their order."""
    found = dict.fromkeys(r.metric for r in run.records if r.on_board)
    known = find_task(run.kind).titles()
    return (*(m for m in known if m in found), *sorted(m for m in found if m not in known))


_BY = re.compile(r"(.+) by ([a-z][a-z0-9-]*(?:\([^\"]*\))?)", re.DOTALL)


def family_of(entry: str) -> str:
    """Return the methods of an entry without their parameters, as `hengyu.methods.grammar.Entry.family`, for any text."""
    while (bare := _PARAMETERS.sub("", entry)) != entry:  # a fusion has entries with parameters inside its own
        entry = bare
    return entry


def parted(entry: str) -> tuple[str, str]:
    """Return the steps of an entry, and what vectors are compared by, as `hengyu.methods.grammar.Entry` has them, for any text."""
    found = _BY.fullmatch(entry)
    return (found[1], found[2]) if found else (entry, "cosine")


def several_similarities(entries: Iterable[str]) -> bool:
    """Whether entries differ in their similarity."""
    return len({parted(entry)[1] for entry in entries}) > 1


def make_board(run: Run, metric: str = "") -> Board:
    """Lay out one metric of a run, the main one of its kind of task by default.

    Rows stand by the macro mean, best first, rows with a hole after them in the order of evaluation; a metric
    without means keeps the order of the main board. Points of sweeps and single
    draws are no rows.
    """
    kind = find_task(run.kind)
    metric = metric or kind.main
    records = [r for r in run.records if r.metric == metric and r.on_board]
    found = {(r.row, r.task): r for r in records}
    columns = _columns(run, records, kind, load_audits(run))
    main = next((i for i, c in enumerate(columns) if c.task == "mean"), 0 if len(columns) == 1 else None)
    shares = {
        (r.row, r.task): r.value
        for r in run.records
        if metric == kind.main and r.metric == "ceiling-share" and r.on_board
    }
    stands = {(s.row, s.task): s for s in run.standings} if metric == kind.main else {}
    notes: dict[str, int] = {}
    baselines = {str(e.get("encoder")) for e in run.header.get("encoders", ()) if e.get("baseline")}
    unranked = {str(e.get("encoder")) for e in run.header.get("encoders", ()) if e.get("kind") in _UNRANKED}
    rows = []
    for key in dict.fromkeys(r.row for r in records):
        seen = [found.get((key, c.task)) for c in columns]
        cells = tuple(
            Cell(r, shares.get((key, c.task)), note=_note(r, notes), standing=stands.get((key, c.task)))
            for r, c in zip(seen, columns, strict=True)
        )
        dim = next((r.dim for r in seen if r and r.dim is not None), None)
        size = next((r.bytes for r in seen if r and r.bytes is not None), None)
        row = Row(
            *key,
            dim=dim,
            rank=None,
            baseline=key[0] in baselines,
            cells=cells,
            unranked=key[0] in unranked or scores_jointly(key[2]),
        )
        rows.append(replace(row, bytes=size))
    if main is not None:
        rows = _ranked(rows, main)
    elif metric != kind.main:
        order = {row.key: i for i, row in enumerate(make_board(run).rows)}
        rows.sort(key=lambda row: order.get(row.key, len(order)))
    level = float(run.header.get("suite", {}).get("level") or 0.95)
    return Board(metric, kind.metric(metric).title, level, columns, _marked(rows, len(columns)), tuple(notes), main)


def _columns(run: Run, records: Sequence[Record], kind: Task, audits: Sequence[AuditOf]) -> tuple[Column, ...]:
    """Tasks in the header's order, the suite's aggregate after its card's splits, the means last."""
    heads: dict[str, Mapping[str, Any]] = {str(t.get("task")): t for t in run.header.get("tasks", ())}
    first: dict[str, Record] = {}
    for r in records:
        known = first.setdefault(r.task, r)
        if known.ceiling is None and r.ceiling is not None:
            first[r.task] = r
    aggregate = run.header.get("suite", {}).get("aggregate")
    title = kind.metric(kind.main).title
    places = {task: i for i, task in enumerate(dict.fromkeys([*heads, *first]))}
    tops: list[tuple[tuple[int, int], Column]] = []
    for task, r in first.items():
        card, _, split = task.rpartition(":")
        if task in MEANS:
            continue
        if task not in heads and split in ("avg", "w-avg"):
            if split == aggregate:
                about = f"{'weighted ' if split == 'w-avg' else ''}mean over the splits {r.split} of {card}"
                last = max((places[h] for h in heads if h.startswith(f"{card}:")), default=len(places))
                tops.append(((last, 1), Column(task, "aggregate", r.n, None, about, r.of)))
            continue
        head = heads.get(task, {})
        ceiling = r.ceiling if r.ceiling is not None or not kind.bounded else head.get("ceiling")
        about = "; ".join([_about(task, r, ceiling, head, title), *audits_said(audits, task)])
        seen = max((one.any for one in audits if one.task == task), default=None)
        tops.append(((places[task], 0), Column(task, "task", r.n, ceiling, about, r.of, seen)))
    columns = [column for _, column in sorted(tops, key=lambda item: item[0])]
    if len(columns) > 1:
        columns += [Column(m, "mean", first[m].n, None, about, first[m].of) for m, about in MEANS.items() if m in first]
    return tuple(columns)


def _about(task: str, record: Record, ceiling: float | None, head: Mapping[str, Any], title: str) -> str:
    parts = [f"{task}: {record.n:,} pairs" + ("" if record.of is None else f", a random sample of {record.of:,}")]
    if head.get("labels"):
        rate = head.get("positive_rate")
        parts.append(f"{head['labels']} labels" + (f", {rate:.1%} of them positive" if rate is not None else ""))
    if ceiling is not None:
        parts.append(f"the labels allow a {title} of at most {percent(ceiling)}")
    if said := raters_said(head):
        parts.append(said)
    return "; ".join(parts)


def raters_said(head: Mapping[str, Any]) -> str:
    """Say what is known of the raters of a task, from its part of a run's header; "" where they are not."""
    raters = head.get("raters")
    if not isinstance(raters, dict) or not isinstance(raters.get("one"), list):
        return ""
    one, reliability, ceiling = (raters[key][0] for key in ("one", "reliability", "ceiling"))
    who = "people" if raters.get("kind") == "human" else "models"
    return (
        f"rated by {raters['count']} {who}, of whom one against the mean of the others has {percent(one)}; the reliability of "
        f"their mean is {reliability:.3f}, so a perfect model reaches about {percent(ceiling)}"
    )


def audits_said(audits: Sequence[AuditOf], task: str) -> list[str]:
    """Say for each audit of a task how many of its pairs have sentences that collections of texts hold."""
    found = []
    for one in audits:
        if one.task == task:
            names = [source.name for source in one.collections[:_NAMED]]
            names += ["..."] if len(one.collections) > _NAMED else []
            said = f"pairs with a sentence that is also in {', '.join(names)}: {_share(one.any, one.n)}"
            said += f", with both: {_share(one.both, one.n)}"
            found.append(said + ("" if one.together is None else f", as one pair: {_share(one.together, one.n)}"))
    return found


def _share(count: int, n: int) -> str:
    return f"{count:,} ({count / n:.1%})"


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
    rank = place = 0
    for value, row in ordered:
        if row.unranked:
            ranked.append(row)
            continue
        place += 1
        rank = rank if before is not None and _same(before, value) else place
        ranked.append(replace(row, rank=rank))
        before = value
    return ranked + [row for v, row in whole if v is None]


def _marked(rows: Sequence[Row], width: int) -> tuple[Row, ...]:
    """Mark the best of every column that has more than one number, and shade all of them; an upper bound is not the best."""
    marked: list[list[Cell]] = [[] for _ in rows]
    for i in range(width):
        cells = [row.cells[i] for row in rows]
        values = [c.value for c, row in zip(cells, rows, strict=True) if c.value is not None and not row.unranked]
        if len(values) > 1:
            # one row far below the others would leave them all the same shade
            low, top = float(np.quantile(values, 0.1)), max(values)
            cells = [
                replace(c, best=not row.unranked and _same(c.value, top), heat=_shade(c.value, low, top))
                if c.value is not None
                else c
                for c, row in zip(cells, rows, strict=True)
            ]
        for line, cell in zip(marked, cells, strict=True):
            line.append(cell)
    return tuple(replace(row, cells=tuple(line)) for row, line in zip(rows, marked, strict=True))


def _shade(value: float, low: float, top: float) -> int | None:
    if top <= low:
        return None
    return min(HEATS - 1, max(0, int(HEATS * (value - low) / (top - low))))


def _same(a: float, b: float) -> bool:
    return abs(a - b) < 1e-9
