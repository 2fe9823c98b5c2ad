"""The pictures above a board as numbers: forest plot, rank intervals, heatmap, and scores against costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hengyu.report.board.cell import percent
from hengyu.report.summary.methods import MethodLine, Summary
from hengyu.report.summary.scales import Scale, linear, logarithmic
from hengyu.storage.records import Record, Run
from hengyu.storage.records.significance import direction
from hengyu.tasks.interface.registry import find_task

__all__ = ["Heat", "HeatCell", "Point", "Scatter", "delta_scale", "heatmap", "rank_scale", "scatter", "scatters"]

SHADES = 3  # of a gain, and as many of a loss
_GROUPS = 8  # groups with a colour and a shape of their own
_FEWEST = 3  # points of a picture
_MOST = 150  # points of a picture: the best rows
_OTHER = "other"


def delta_scale(lines: Sequence[MethodLine]) -> Scale | None:
    """Return the axis of the differences, x 100, 0 included; None without any."""
    ends = [
        100 * v
        for line in lines
        if line.main.delta is not None
        for v in (line.main.delta, line.main.delta_low, line.main.delta_high)
        if v is not None
    ]
    return linear(min(0.0, *ends), max(0.0, *ends)) if ends else None


def rank_scale(summary: Summary) -> Scale | None:
    """Return the axis of ranks, the first at its left end; None where no ranks are known."""
    known = [line.standing for line in summary.best if line.standing and line.standing.rank_high is not None]
    if not known:
        return None
    last = max(s.rank_high or 1 for s in known)
    axis = linear(1, max(2, last), 3)
    return replace(axis, ticks=tuple((v, text) for v, text in axis.ticks if v >= 1 and v == int(v)))


@dataclass(frozen=True)
class HeatCell:
    """The difference of one method on one task; ``shade`` from -SHADES to SHADES, 0 for little."""

    text: str
    shade: int
    clear: int
    why: str = ""


@dataclass(frozen=True)
class Heat:
    """Methods by tasks, or by poolings where there is one task."""

    by: str  # "task" or "pooling"
    columns: tuple[str, ...]
    rows: tuple[tuple[MethodLine, tuple[HeatCell, ...]], ...]


def heatmap(summary: Summary) -> Heat | None:
    """Return the differences from the reference, methods by tasks; None where there is only one column."""
    lines = [x for x in summary.best if not (x.baseline or x.unranked)]
    if len(summary.tasks) > 1:
        cells = [(line, [line.by_task.get(task) for task in summary.tasks]) for line in lines]
        return _heat("task", summary.tasks, cells)
    poolings = tuple(dict.fromkeys(x.row[1] for x in summary.rows if not (x.baseline or x.unranked)))
    first: dict[tuple[str, str, str], Record] = {}
    for x in summary.rows:
        first.setdefault((x.row[0], x.row[1], x.family), x.main)
    cells = [(line, [first.get((line.row[0], p, line.family)) for p in poolings]) for line in lines]
    return _heat("pooling", poolings, cells)


def _heat(by: str, columns: Sequence[str], found: Sequence[tuple[MethodLine, list[Record | None]]]) -> Heat | None:
    found = [(line, cells) for line, cells in found if any(r is not None and r.delta is not None for r in cells)]
    most = max((abs(r.delta) for _, cells in found for r in cells if r is not None and r.delta is not None), default=0)
    if len(columns) < 2 or not found or most <= 0:
        return None
    rows = tuple((line, tuple(_heat_cell(r, most) for r in cells)) for line, cells in found)
    return Heat(by, tuple(columns), rows)


def _heat_cell(r: Record | None, most: float) -> HeatCell:
    if r is None:
        return HeatCell("", 0, 0)
    if r.delta is None:
        return HeatCell("", 0, 0, "" if r.status == "ok" else r.reason)
    share = r.delta / most
    shade = int(share * SHADES + (0.5 if share > 0 else -0.5))
    return HeatCell(percent(r.delta, signed=True), shade, direction(r.delta_low, r.delta_high, r.n))


@dataclass(frozen=True)
class Point:
    """A row as a mark: places in percent, from the left and from the top."""

    x: float
    y: float
    group: int  # its colour and shape, from 0
    label: str  # shown beside it; "" for none
    about: str  # names and numbers, for who points at it
    front: bool  # whether no other row is better in both


@dataclass(frozen=True)
class Scatter:
    """Scores against one cost."""

    cost: str  # what the cost is called
    about: str
    x: Scale
    y: Scale
    score: str  # what the score is called
    points: tuple[Point, ...]
    groups: tuple[str, ...]
    path: tuple[tuple[float, float, float, float], ...]  # the front as lines, in percent


def scatters(run: Run, summary: Summary) -> tuple[Scatter, ...]:
    """Return the scores of a run's rows against bytes, seconds, parameters and the costs that its kind measures."""
    kind = find_task(run.kind)
    rows = [x for x in summary.rows if not x.unranked][:_MOST]
    groups = [x.family.rpartition(" > ")[2] if kind.index else x.family for x in rows]
    names = [x.row for x in rows]
    scores = [100 * x.value for x in rows]
    ranks = _ranks(scores)
    sizes = {str(e.get("encoder")): e.get("parameters") for e in run.header.get("encoders", ())}
    found: list[Scatter | None] = []
    measured = {(r.metric, r.row): r.value for r in run.records if r.metric in kind.traded and r.task == summary.column}
    for name in kind.traded:
        metric = kind.metric(name)
        costs = [measured.get((name, x.row)) for x in rows]
        found.append(
            scatter(summary.metric, metric.title, scores, costs, groups, names, ranks, more=metric.higher_is_better)
        )
    if not any(kind.metric(name).unit == "bytes" for name in kind.traded):
        sized = [float(x.main.bytes) if x.main.bytes else None for x in rows]
        found.append(scatter(summary.metric, "bytes per vector", scores, sized, groups, names, ranks))
    if not kind.traded:
        times = [x.seconds or None for x in rows]
        found.append(scatter(summary.metric, "seconds without encoding", scores, times, groups, names, ranks))
    params = [float(p) if isinstance(p := sizes.get(x.row[0]), int) and p > 0 else None for x in rows]
    found.append(scatter(summary.metric, "parameters", scores, params, groups, names, ranks))
    return tuple(s for s in found if s is not None)


def scatter(
    metric: str,
    cost: str,
    scores: Sequence[float],
    costs: Sequence[float | None],
    groups: Sequence[str],
    names: Sequence[Sequence[str]],
    ranks: Sequence[str],
    *,
    more: bool = False,
) -> Scatter | None:
    """Return scores (n,), x 100, against costs (n,), better where they are lower or ``more``; None for too few points."""
    kept = [i for i, c in enumerate(costs) if c is not None and c > 0]
    values = {i: c for i in kept if (c := costs[i]) is not None}
    if len(kept) < _FEWEST or len(set(values.values())) < 2:
        return None
    x = logarithmic(min(values.values()), max(values.values()))
    y = linear(_lowest([scores[i] for i in kept]), max(scores[i] for i in kept))
    legend = list(dict.fromkeys(groups))
    shown = legend if len(legend) <= _GROUPS else [*legend[: _GROUPS - 1], _OTHER]
    sign = 1 if more else -1
    front = {i for i in kept if not _beaten(i, kept, scores, values, sign)}
    points = tuple(
        Point(
            x.at(values[i]),
            round(100 - y.at(scores[i]), 2),
            min(legend.index(groups[i]), len(shown) - 1),
            ranks[i] if i in front else "",
            f"{' · '.join(n for n in names[i] if n)}: {scores[i]:.2f}; {_cost(values[i])}",
            i in front,
        )
        for i in kept
    )
    path = _path(sorted((p.x, p.y) for p in points if p.front))
    return Scatter(cost, "", x, y, metric, points, tuple(shown), path)


def _lowest(scores: Sequence[float]) -> float:
    """Return where the axis of scores begins: rows far below the others are drawn at its edge."""
    ordered = sorted(scores)
    low, middle, top = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    return max(low, middle - 3 * (top - middle)) if top > middle else low


def _beaten(i: int, kept: Iterable[int], scores: Sequence[float], costs: dict[int, float], sign: int) -> bool:
    own = (scores[i], sign * costs[i])
    return any(
        s >= own[0] and c >= own[1] and (s > own[0] or c > own[1])
        for s, c in ((scores[k], sign * costs[k]) for k in kept)
    )


def _path(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float, float, float], ...]:
    return tuple((*a, *b) for a, b in zip(points, points[1:], strict=False))


def _ranks(scores: Sequence[float]) -> list[str]:
    return [str(1 + sum(other > s + 1e-9 for other in scores)) for s in scores]


def _cost(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
