"""Spearman against dimension: the series of a run, and the chart that draws one view of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt

from hengyu.report.board.cell import percent
from hengyu.report.charts.style import COLOURS, SHAPES, Chart, dressed, fixed_scale
from hengyu.report.sheet import Sheet
from hengyu.storage.records import Record, Run
from hengyu.tasks.interface.registry import find_task

__all__ = ["Point", "Series", "chart", "collect", "dimensions"]

_DIM = re.compile(r"\((?:dim|bits)=\d+\)|(?<=\()(?:dim|bits)=\d+, |, (?:dim|bits)=\d+(?=[,)])")
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4])
_FEWEST = 3  # points of a curve
_MOST = 160  # points of a curve that are drawn; the exports hold them all


@dataclass(frozen=True)
class Point:
    """One score at one dimension; ``marked`` where the dimension is a power of two, the last, or asked for."""

    dim: int
    value: float
    low: float | None
    high: float | None
    marked: bool


@dataclass(frozen=True)
class Series:
    """A method without its dimension, on one task under one encoder and pooling, over the dimensions."""

    task: str
    encoder: str
    pooling: str
    method: str  # "whitening, fit_on target"
    points: tuple[Point, ...]


def collect(run: Run) -> tuple[Series, ...]:
    """Return the curves of a run: methods with three points or more, and the reference beside them; () without any."""
    kind = find_task(run.kind)
    main = kind.main
    found: dict[tuple[str, str, str, str], dict[int, Record]] = {}
    for r in run.records:
        if r.draw or r.metric != main or r.dim is None or r.status != "ok" or r.value is None:
            continue
        method = _without_dim(r.entry) + (f", fit_on {r.fit_on}" if r.fit_on not in ("", "none") else "")
        at = found.setdefault((r.task, r.encoder, r.pooling, method), {})
        # where a row of the board and a point of the sweep say the same, the row has the better interval
        if r.dim not in at or at[r.dim].sweep:
            at[r.dim] = r
    methods = {key[1:] for key, at in found.items() if len(at) >= _FEWEST}
    spaces = {(encoder, pooling) for encoder, pooling, _ in methods}
    kept = {k: v for k, v in found.items() if k[1:] in methods or (k[3] == kind.reference and (k[1], k[2]) in spaces)}
    return tuple(Series(*key, points=_points(at)) for key, at in kept.items())


def _without_dim(entry: str) -> str:
    """Leave out the last step's ``dim``, as `hengyu.methods.grammar.Entry.with_dim` does, for any text; or its ``bits``.

    A code of so many bits has as many columns; in pq the bits are those of a part, and stay.
    """
    first, arrow, last = entry.rpartition(" > ")
    if last.startswith("pq("):
        return entry
    return first + arrow + _DIM.sub("", last)


def _points(at: dict[int, Record]) -> tuple[Point, ...]:
    dims = sorted(at)
    marked = {d for d in dims if not at[d].sweep or d & (d - 1) == 0 or d == dims[-1]}
    shown = marked | {dims[round(i * (len(dims) - 1) / (_MOST - 1))] for i in range(_MOST)}
    return tuple(Point(d, r.value or 0.0, r.low, r.high, d in marked) for d in dims if d in shown for r in (at[d],))


def dimensions(run: Run) -> Chart | None:
    """Return the chart of a run's sweeps, with its marked points as a table; None without any."""
    series = collect(run)
    if not series:
        return None
    dims = sorted({p.dim for s in series for p in s.points if p.marked})
    rows = []
    for s in series:
        at = {p.dim: percent(p.value) for p in s.points if p.marked}
        rows.append((s.task, s.encoder, s.pooling, s.method, *(at.get(d, "") for d in dims)))
    heads = ("task", "encoder", "pooling", "method", *map(str, dims))
    return Chart(
        "dimensions",
        "Spearman by dimension",
        "Bands are intervals. Markers stand at powers of two, at the full width and at dimensions asked for; "
        "the exports hold every point.",
        chart(series),
        (("Task", ("task",)), ("Encoder and pooling", ("encoder", "pooling"))),
        tuple(_group(s, dims) for s in series),
        Sheet("Spearman by dimension", "", heads, tuple(rows), frozenset(range(4, len(heads)))),
    )


def _group(s: Series, dims: Sequence[int]) -> dict[str, Any]:
    if len(s.points) == 1:  # the reference, at one dimension: a line that the others are read against
        (point,) = s.points
        s = replace(s, points=tuple(replace(point, dim=d, marked=d == point.dim) for d in (dims[0], dims[-1])))
    return {
        "same": {"task": s.task, "encoder": s.encoder, "pooling": s.pooling, "method": s.method},
        "each": {
            "dim": [p.dim for p in s.points],
            "value": [round(100 * p.value, 2) for p in s.points],
            "low": [None if p.low is None else round(100 * p.low, 2) for p in s.points],
            "high": [None if p.high is None else round(100 * p.high, 2) for p in s.points],
            "marked": [int(p.marked) for p in s.points],
        },
    }


def chart(series: Sequence[Series]) -> dict[str, Any]:
    """Return the Vega-Lite picture of the data set ``points`` (method, dim, value, low, high, marked).

    A method keeps its colour, marker and dash in every view of the run.
    """
    methods = list(dict.fromkeys(s.method for s in series))
    dims = [p.dim for s in series for p in s.points]
    ticks = [2**k for k in range(24) if min(dims) <= 2**k <= max(dims)]
    x = (
        alt.X("dim:Q")
        .title("dimension")
        .scale(type="log", base=2, nice=False, padding=12)
        .axis(values=ticks, grid=False)
    )
    y = alt.Y("value:Q").title("Spearman x 100").scale(zero=False, nice=True)
    colours = fixed_scale(methods, COLOURS)
    # no limit: a shortened method name would name another method
    legend = alt.Legend(
        orient="bottom",
        columns=1,
        labelLimit=0,
        symbolLimit=0,
        title=None,
        symbolSize=90,
        symbolOpacity=1,
        symbolStrokeWidth=0,
    )
    color = alt.Color("method:N").scale(**colours).legend(legend)
    shape = alt.Shape("method:N").scale(**fixed_scale(methods, SHAPES)).legend(legend)
    dash = alt.StrokeDash("method:N").scale(**fixed_scale(methods, _DASHES)).legend(legend)
    tooltip = [
        alt.Tooltip("method:N"),
        alt.Tooltip("dim:Q", title="dimension"),
        alt.Tooltip("value:Q", format=".2f", title="Spearman x 100"),
        alt.Tooltip("low:Q", format=".2f", title="interval from"),
        alt.Tooltip("high:Q", format=".2f", title="to"),
    ]
    base = alt.Chart(alt.NamedData(name="points")).encode(x=x, color=color)
    band = base.mark_area(opacity=0.12).encode(y=alt.Y("low:Q").title("Spearman x 100"), y2="high:Q")
    line = base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash)
    marks = (
        base.mark_point(filled=True, size=60, opacity=1)
        .encode(y=y, shape=shape, tooltip=tooltip)
        .transform_filter("datum.marked == 1")
    )
    return dressed(alt.layer(band, line, marks).properties(height=360))
