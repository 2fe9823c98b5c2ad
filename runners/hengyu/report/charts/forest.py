"""Differences as a forest plot: a point and its interval each, and a line at 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import altair as alt

from hengyu.report.board.cell import between, p_words, percent
from hengyu.report.charts.style import Chart, dressed
from hengyu.report.sheet import Sheet
from hengyu.storage.records import Run
from hengyu.storage.records.significance import NOT_SIGNIFICANT
from hengyu.tasks.interface.registry import find_task

__all__ = ["Span", "differences", "forest", "places"]

_VERDICTS = {
    "better": ("#009E73", "triangle-right"),
    NOT_SIGNIFICANT: ("#7A7A7A", "circle"),
    "worse": ("#D55E00", "triangle-left"),
}


@dataclass(frozen=True)
class Span:
    """One difference: its place, what minus what, and its test."""

    task: str
    kind: str  # "flow minus whitening"
    place: str  # encoder, pooling, fit_on: distinguishes lines of the same kind
    value: float
    low: float
    high: float
    verdict: str
    p: float | None = None
    p_adjusted: float | None = None


def places(names: Sequence[Sequence[str]]) -> list[str]:
    """Return one label per line from its names, without those that all lines share."""
    kept = [i for i, column in enumerate(zip(*names, strict=True)) if len(set(column)) > 1] or [0]
    return [", ".join(line[i] for i in kept) for line in names]


def differences(run: Run) -> Chart | None:
    """Return the paired differences requested by a run's suite; None without any."""
    told = places([(d.encoder, d.pooling, f"fit_on {d.fit_on}") for d in run.differences])
    spans = [
        Span(d.task, f"{d.entry} - {d.against}", place, d.value, d.low, d.high, d.verdict, d.p, d.p_adjusted)
        for d, place in zip(run.differences, told, strict=True)
    ]
    kind = find_task(run.kind)
    title = kind.metric(kind.main).title
    about = f"Each line is a paired difference of {title} with its interval. Right of 0 the first entry is better."
    return forest("differences", f"Differences: {title} × 100", about, spans) if spans else None


def forest(id: str, title: str, about: str, spans: Sequence[Span]) -> Chart:
    """Return the chart of differences, with a view for each task and kind."""
    y = alt.Y("place:N").title(None).sort(None).axis(labelLimit=260, ticks=False, domain=False, grid=True)
    base = alt.Chart(alt.NamedData(name="points")).encode(y=y)
    scale = alt.Scale(domain=list(_VERDICTS), range=[c for c, _ in _VERDICTS.values()])
    legend = alt.Legend(orient="bottom", title=None, symbolSize=90, symbolOpacity=1, symbolStrokeWidth=0)
    color = alt.Color("verdict:N").scale(scale).legend(legend)
    shape = (
        alt.Shape("verdict:N").scale(domain=list(_VERDICTS), range=[s for _, s in _VERDICTS.values()]).legend(legend)
    )
    tooltip = [
        alt.Tooltip("place:N", title=" "),
        alt.Tooltip("value:Q", format="+.2f", title="difference"),
        alt.Tooltip("low:Q", format="+.2f", title="interval from"),
        alt.Tooltip("high:Q", format="+.2f", title="to"),
        alt.Tooltip("verdict:N", title="verdict"),
    ]
    rule = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q").title("difference, Spearman x 100"), x2="high:Q", color=color
    )
    point = base.mark_point(filled=True, size=90, opacity=1).encode(
        x="value:Q", color=color, shape=shape, tooltip=tooltip
    )
    zero = alt.Chart(alt.NamedData(name="points")).mark_rule(strokeDash=[4, 3], color="#7A7A7A").encode(x=alt.datum(0))
    return Chart(
        id,
        title,
        about,
        dressed(
            alt.layer(zero, rule, point).properties(height=26 * max(Counter((s.task, s.kind) for s in spans).values()))
        ),
        (("Task", ("task",)), ("Difference", ("kind",))),
        tuple(_groups(spans)),
        Sheet(
            title,
            "",
            ("task", "difference", "row", "value", "interval", "p", "p (Holm)", "verdict"),
            tuple(_rows(spans)),
            frozenset({3, 4, 5, 6}),
        ),
    )


def _groups(spans: Iterable[Span]) -> Iterable[dict[str, dict[str, object]]]:
    for s in spans:
        numbers = {"value": s.value, "low": s.low, "high": s.high}
        yield {
            "same": {"task": s.task, "kind": s.kind, "place": s.place, "verdict": s.verdict}
            | {k: round(100 * v, 2) + 0.0 for k, v in numbers.items()},
            "each": {},
        }


def _rows(spans: Iterable[Span]) -> Iterable[tuple[str, ...]]:
    for s in spans:
        numbers = (percent(s.value, signed=True), between(s.low, s.high, signed=True))
        yield (s.task, s.kind, s.place, *numbers, p_words(s.p), p_words(s.p_adjusted), s.verdict)
