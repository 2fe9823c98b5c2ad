"""A retrieval run as tables: what a search is worth beside what it costs, one table a task; pure data, whatever shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hengyu.report.board.board import audits_said, constant_names, family_of, parted, percent, several_similarities
from hengyu.storage.records import Record, Run
from hengyu.storage.records.audits import load_audits
from hengyu.tasks.interface.base import Metric, Task
from hengyu.tasks.interface.registry import find_task

__all__ = ["Line", "Table", "front", "make_tables", "shown"]


@dataclass(frozen=True)
class Line:
    """One entry under one encoder, pooling and fit_on: a record for each metric that has one."""

    key: tuple[str, str, str, str]
    rank: int | None  # by nDCG@10; equal numbers share a rank
    records: dict[str, Record]
    status: str
    reason: str

    @property
    def similarity(self) -> str:
        """What vectors are compared by; "-" for a search without vectors of its own."""
        steps, similarity = parted(self.key[2])
        return "-" if self.dim is None and steps == self.key[2] else similarity

    @property
    def index(self) -> str:
        """The method that searches, without its parameters: the last step, and the index that it rescores."""
        return " > ".join(self._steps[-self._searching :])

    @property
    def family(self) -> str:
        """The methods before the index, without their parameters; raw where there are none."""
        return " > ".join(self._steps[: -self._searching]) or "raw"

    @property
    def _steps(self) -> list[str]:
        return family_of(self.key[2]).split(" > ")

    @property
    def _searching(self) -> int:
        """How many steps search."""
        return 2 if self._steps[-1] == "rescore" else 1

    @property
    def dim(self) -> int | None:
        """The dimension of the vectors that are searched."""
        return next((r.dim for r in self.records.values() if r.dim is not None), None)

    def value(self, metric: str) -> float | None:
        """Return a number, None where there is none."""
        r = self.records.get(metric)
        return r.value if r is not None else None


@dataclass(frozen=True)
class Table:
    """One task of a retrieval run, or the mean over its tasks; lines stand by nDCG@10, those without it last."""

    task: str
    about: str
    level: float
    main: str  # the metric that lines stand by
    columns: tuple[Metric, ...]
    lines: tuple[Line, ...]
    fronts: dict[str, frozenset[int]]  # cost -> lines that no other beats in nDCG@10 and in that cost alike

    @property
    def similarities(self) -> bool:
        """Whether lines differ in their similarity, so that it has a column."""
        return several_similarities(line.key[2] for line in self.lines)

    @property
    def constant(self) -> dict[str, str]:
        """What all lines share: a column of it would say nothing."""
        return constant_names(
            [
                dict(zip(("encoder", "pooling", "entry", "fit_on"), x.key, strict=True)) | {"dim": x.dim}
                for x in self.lines
            ]
        )

    @property
    def best(self) -> frozenset[int]:
        """The lines that no other beats in nDCG@10 and in some cost alike."""
        return frozenset().union(*self.fronts.values())


def make_tables(run: Run) -> tuple[Table, ...]:
    """Lay out a retrieval run, its tasks in the header's order, their mean last."""
    kind = find_task(run.kind)
    heads = {str(t.get("task")): t for t in run.header.get("tasks", ())}
    level = float(run.header.get("suite", {}).get("level") or 0.95)
    tasks = dict.fromkeys((*heads, *(r.task for r in run.records)))
    audits = load_audits(run)
    found = []
    for task in tasks:
        records = [r for r in run.records if r.task == task and r.on_board]
        if records:
            lines = _lines(records, kind.main)
            columns = tuple(c for c in kind.metrics if any(line.value(c.name) is not None for line in lines))
            about = "; ".join(filter(None, [_about(task, heads.get(task)), *audits_said(audits, task)]))
            found.append(Table(task, about, level, kind.main, columns, lines, _fronts(kind, lines)))
    return tuple(found)


def _fronts(kind: Task, lines: Sequence[Line]) -> dict[str, frozenset[int]]:
    return {
        cost: front(lines, cost, quality=kind.main, more=kind.metric(cost).higher_is_better) for cost in kind.traded
    }


def front(lines: Sequence[Line], cost: str, *, quality: str, more: bool = False) -> frozenset[int]:
    """Return the places of the lines that no other beats or equals in quality and cost, beating them in one of both.

    A cost is better where it is less, or ``more`` (queries a second).
    """
    points = {
        i: (q, c if more else -c)
        for i, line in enumerate(lines)
        if (q := line.value(quality)) is not None and (c := line.value(cost)) is not None
    }
    return frozenset(
        i
        for i, (q, c) in points.items()
        if not any(q2 >= q and c2 >= c and (q2 > q or c2 > c) for q2, c2 in points.values())
    )


def shown(column: Metric, value: float | None) -> str:
    """Return a number in its unit, three digits of it for a cost; "" for None."""
    if value is None:
        return ""
    if column.unit == "score":
        return percent(value)
    if column.unit == "bytes":
        for size, unit in ((1e9, " GB"), (1e6, " MB"), (1e4, " kB")):
            if value >= size:
                return f"{value / (size if unit != ' kB' else 1e3):.3g}{unit}"
        return f"{value:.4g}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _lines(records: Sequence[Record], metric: str) -> tuple[Line, ...]:
    rows: dict[tuple[str, str, str, str], dict[str, Record]] = {}
    for r in records:
        rows.setdefault(r.row, {})[r.metric] = r
    made: list[tuple[float | None, dict[str, Any]]] = []
    for key, found in rows.items():
        main = found.get(metric)
        value = main.value if main is not None and main.status == "ok" else None
        status, reason = (main.status, main.reason) if main is not None else ("missing", "")
        made.append((value, {"key": key, "records": found, "status": status, "reason": reason}))
    made.sort(key=lambda item: (item[0] is None, -(item[0] or 0.0)))
    lines: list[Line] = []
    before: float | None = None
    for place, (value, given) in enumerate(made, 1):
        same = lines and value is not None and before is not None and abs(value - before) < 1e-9
        rank = None if value is None else lines[-1].rank if same else place
        lines.append(Line(rank=rank, **given))
        before = value
    return tuple(lines)


def _about(task: str, head: Any) -> str:
    if not head or "corpus" not in head:
        return "the plain mean of the tasks, with equal weights" if task == "mean" else ""
    parts = [f"{head['corpus']:,} sentences", f"{head['queries']:,} queries", f"{head['relevant']:,} relevant"]
    if head.get("distractors") is not None:
        parts[0] += f" ({head['distractors']:,} of them distractors)"
    return ", ".join(parts)
