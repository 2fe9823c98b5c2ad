"""Published figures and ours: two dots per row, ours with its interval."""

from __future__ import annotations

from collections import Counter

import altair as alt

from hengyu.report.board.cell import between, percent
from hengyu.report.charts.forest import places
from hengyu.report.charts.style import Chart, dressed
from hengyu.report.published import matching_published, of_task
from hengyu.report.sheet import Sheet
from hengyu.storage.records import Run

__all__ = ["figures"]

_MARKS = {"ours": ("#0072B2", "circle"), "published": ("#D55E00", "diamond")}
_TITLE = "Published against ours: Spearman × 100"
_TITLE_OF_SEVERAL = "Published against ours: scores × 100"


def figures(run: Run) -> Chart | None:
    """Return the numbers of a run with their published counterparts; None if there are none."""
    found = matching_published(run)
    if not found:
        return None
    told = places([(r.entry, r.encoder, r.pooling, f"fit_on {r.fit_on}") for r, _ in found])
    groups: list[dict[str, object]] = []
    rows = []
    for (r, figure), place in zip(found, told, strict=True):
        same = {"task": of_task(r), "place": place}
        span = {k: _scaled(v) for k, v in (("low", r.low), ("high", r.high))}
        groups.append({"same": {**same, "rows": "ours", "value": _scaled(r.value), **span, "source": ""}, "each": {}})
        there = {
            "rows": "published",
            "value": _scaled(figure.value),
            "low": None,
            "high": None,
            "source": figure.source,
        }
        groups.append({"same": same | there, "each": {}})
        rows.append((of_task(r), place, percent(r.value), between(r.low, r.high), percent(figure.value)))
    most = max(Counter(of_task(r) for r, _ in found).values())
    alone = all(r.metric == "spearman" for r, _ in found)
    title, axis = (_TITLE, "Spearman x 100") if alone else (_TITLE_OF_SEVERAL, "score x 100")
    return Chart(
        "published",
        title,
        "Each line is a row of this run with a published counterpart: a circle for ours with its interval, a diamond for "
        "what was published. Sources and protocols stand in the table above.",
        _picture(most, axis),
        (("Task", ("task",)),),
        tuple(groups),
        Sheet(title, "", ("task", "row", "ours", "interval", "published"), tuple(rows), frozenset({2, 3, 4})),
    )


def _scaled(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 2) + 0.0


def _picture(lines: int, axis: str) -> dict[str, object]:
    y = alt.Y("place:N").title(None).sort(None).axis(labelLimit=260, ticks=False, domain=False, grid=True)
    base = alt.Chart(alt.NamedData(name="points")).encode(y=y)
    names = list(_MARKS)
    legend = alt.Legend(orient="bottom", title=None, symbolSize=90, symbolOpacity=1, symbolStrokeWidth=0)
    color = alt.Color("rows:N").scale(domain=names, range=[c for c, _ in _MARKS.values()]).legend(legend)
    shape = alt.Shape("rows:N").scale(domain=names, range=[s for _, s in _MARKS.values()]).legend(legend)
    tooltip = [
        alt.Tooltip("place:N", title=" "),
        alt.Tooltip("rows:N", title=" "),
        alt.Tooltip("value:Q", format=".2f", title=axis),
        alt.Tooltip("low:Q", format=".2f", title="interval from"),
        alt.Tooltip("high:Q", format=".2f", title="to"),
        alt.Tooltip("source:N", title="source"),
    ]
    x = alt.X("value:Q").title(axis).scale(zero=False)
    ours = base.transform_filter("isValid(datum.low)")
    span = ours.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q").title(axis), x2="high:Q", color=color)
    point = base.mark_point(filled=True, size=90, opacity=1).encode(x=x, color=color, shape=shape, tooltip=tooltip)
    return dressed(alt.layer(span, point).properties(height=26 * lines))
