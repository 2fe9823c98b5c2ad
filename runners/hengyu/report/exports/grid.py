"""A board as a paper's table: lines in groups by encoder, what is best, and what is significant; pure data.

reports/templates/paste.js makes the same grid of the view of a page, and tests hold the two to the same text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hengyu.report.board.board import Board
from hengyu.report.board.cell import percent
from hengyu.report.retrieval.tables import Table, shown
from hengyu.storage.records import Record
from hengyu.storage.records.significance import direction

__all__ = ["BASELINES", "Grid", "GridCell", "GridLine", "board_grid", "grouped", "table_grid"]

BASELINES = "baselines"
_NAMES = ("method", "pooling", "fit_on")
_EQUAL = 1e-9


@dataclass(frozen=True)
class GridCell:
    """One number as text; ``place`` is 1 for the best of its column, 2 for the second best, else 0."""

    text: str = ""
    low: str = ""
    high: str = ""
    half: str = ""  # half of the interval's width
    place: int = 0
    clear: int = 0  # 1 or -1 for a significant gain or loss against the reference
    value: float | None = None  # by which places are given; None for one that takes no part


@dataclass(frozen=True)
class GridLine:
    """One row: its group, the names of its method, pooling and fit_on, and its cells."""

    group: str
    names: tuple[str, ...]
    cells: tuple[GridCell, ...]


@dataclass(frozen=True)
class Grid:
    """A table of a paper.

    Attributes:
        label: distinguishes the grids of a run.
        metric: what the numbers are; "" where each column says it.
        names: the columns of names, those that all lines share left out.
        columns: the columns of numbers.
        lines: in their order; a group's are together.
        feet: further rows: a word, and a text a column.
        reference: what † and ‡ compare with.
        level: of the intervals.
    """

    label: str
    metric: str
    names: tuple[str, ...]
    columns: tuple[str, ...]
    lines: tuple[GridLine, ...]
    feet: tuple[tuple[str, tuple[str, ...]], ...]
    reference: str
    level: float


def board_grid(board: Board, reference: str) -> Grid:
    """Return a board as a grid, with the ceilings and the numbers of pairs at its foot."""
    lines = []
    for row in board.rows:
        cells = tuple(_cell(c.record if c.value is not None else None, counts=not row.unranked) for c in row.cells)
        names = (row.encoder if row.baseline else row.entry, row.pooling, row.fit_on)
        lines.append(GridLine(BASELINES if row.baseline else row.encoder, names, cells))
    feet = []
    if any(c.ceiling is not None for c in board.columns):
        feet.append(("ceiling", tuple(percent(c.ceiling) for c in board.columns)))
    feet.append(("pairs", tuple(c.counted for c in board.columns)))
    columns = _short([c.task for c in board.columns], [c.kind == "task" for c in board.columns])
    return _grid("", board.title, columns, lines, feet, reference, board.level)


def table_grid(table: Table, reference: str) -> Grid:
    """Return the table of a retrieval task as a grid of its brief columns."""
    metrics = [c for c in table.columns if c.brief]
    lines = []
    for line in table.lines:
        cells = []
        for metric in metrics:
            r = line.records.get(metric.name)
            value = line.value(metric.name)
            if metric.unit == "score":
                cells.append(_cell(r if value is not None else None, counts=True))
            else:
                sign = 1 if metric.higher_is_better else -1
                cells.append(GridCell(shown(metric, value), value=None if value is None else sign * value))
        encoder, pooling, entry, fit_on = line.key
        lines.append(GridLine(encoder, (entry, pooling, fit_on), tuple(cells)))
    return _grid(table.task, "", [c.title for c in metrics], lines, [], reference, table.level)


def _cell(r: Record | None, *, counts: bool) -> GridCell:
    if r is None or r.value is None:
        return GridCell()
    known = r.low is not None and r.high is not None
    half = percent(((r.high or 0.0) - (r.low or 0.0)) / 2) if known else ""
    clear = direction(r.delta_low, r.delta_high, r.n)
    ends = (percent(r.low), percent(r.high)) if known else ("", "")
    # what is printed alike is alike
    return GridCell(percent(r.value), *ends, half, clear=clear, value=round(100 * r.value, 2) if counts else None)


def _short(tasks: Sequence[str], plain: Sequence[bool]) -> list[str]:
    """Leave out the split that several tasks share; ``plain`` are those that have one."""
    splits = {t.rpartition(":")[2] for t, is_task in zip(tasks, plain, strict=True) if is_task}
    if len(splits) != 1 or sum(plain) < 2:
        return list(tasks)
    return [t.rpartition(":")[0] or t if is_task else t for t, is_task in zip(tasks, plain, strict=True)]


def _grid(
    label: str,
    metric: str,
    columns: Sequence[str],
    lines: Sequence[GridLine],
    feet: Sequence[tuple[str, tuple[str, ...]]],
    reference: str,
    level: float,
) -> Grid:
    # what all lines share, baselines apart, is no column
    own = [line for line in lines if line.group != BASELINES] or list(lines)
    kept = [i for i, _ in enumerate(_NAMES) if i == 0 or len({line.names[i] for line in own}) > 1]
    placed = _placed([replace(x, names=tuple(x.names[i] for i in kept)) for x in grouped(lines)], len(columns))
    return Grid(label, metric, tuple(_NAMES[i] for i in kept), tuple(columns), placed, tuple(feet), reference, level)


def grouped(lines: Iterable[GridLine]) -> list[GridLine]:
    """Return lines group by group, in the order in which groups appear; baselines come last."""
    groups: dict[str, list[GridLine]] = {}
    for line in lines:
        groups.setdefault(line.group, []).append(line)
    return [x for name in sorted(groups, key=lambda name: name == BASELINES) for x in groups[name]]


def _placed(lines: Sequence[GridLine], width: int) -> tuple[GridLine, ...]:
    """Mark the best and second best of each column that has more than two numbers; of two the best."""
    places: list[dict[int, int]] = []
    for i in range(width):
        values = {k: v for k, line in enumerate(lines) if (v := line.cells[i].value) is not None}
        order = sorted(set(values.values()), reverse=True)
        top = order[0] if len(values) > 1 else None
        second = next((v for v in order if top is not None and v < top - _EQUAL), None) if len(values) > 2 else None
        found = {k: 1 for k, v in values.items() if top is not None and abs(v - top) < _EQUAL}
        places.append(found | {k: 2 for k, v in values.items() if second is not None and abs(v - second) < _EQUAL})
    return tuple(
        replace(line, cells=tuple(replace(c, place=places[i].get(k, 0)) for i, c in enumerate(line.cells)))
        for k, line in enumerate(lines)
    )
