"""Quality against cost in a retrieval task: four small charts in one SVG picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import altair as alt

from hengyu.report.retrieval.tables import Table, front

__all__ = ["pareto_spec", "pareto_svg"]

# Okabe and Ito's colours, safe for colour-blind readers; without yellow, which vanishes on white
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
_QUALITIES = (("ndcg@10", "nDCG@10 x 100"), ("exact-recall@10", "exact search's first 10, % found"))
_COSTS = (("qps", "queries a second, one thread", True), ("bytes-per-vector", "bytes a vector", False))
_FONT = "system-ui, 'Noto Sans', 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif"


def pareto_spec(table: Table, say: Callable[[str], str] = str) -> dict[str, Any] | None:
    """Return the Vega-Lite picture of a task, with words translated by ``say``; None if no row has both quality and cost.

    Every row is a mark with its rank, coloured by its index; a line joins the Pareto-optimal ones.
    """
    indexes = list(dict.fromkeys(line.index for line in table.lines))
    charts = []
    for quality, title in _QUALITIES:
        row = []
        for cost, words, more in _COSTS:
            best = front(table.lines, cost, quality=quality, more=more)
            points = [
                {
                    "cost": c,
                    "quality": round(100 * q, 4),
                    "index": line.index,
                    "rank": str(line.rank or ""),
                    "front": place in best,
                }
                for place, line in enumerate(table.lines)
                if (q := line.value(quality)) is not None and (c := line.value(cost)) is not None and c > 0
            ]
            if points:
                row.append(_panel(points, say(title), say(words), indexes))
        if row:
            charts.append(alt.hconcat(*row))
    if not charts:
        return None
    picture = (
        alt.vconcat(*charts)
        .properties(background="#ffffff")
        .configure(font=_FONT)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor="#333333", titleColor="#333333", gridColor="#e6e6e6", labelFontSize=12, titleFontSize=12
        )
        .configure_legend(labelColor="#1c1c1c", labelFontSize=13)
    )
    spec: dict[str, Any] = picture.to_dict()
    return spec


def pareto_svg(table: Table, say: Callable[[str], str] = str) -> str | None:
    """Return the picture of a task as SVG, drawn here, so that the page needs no script; None if there is nothing to draw."""
    import vl_convert

    spec = pareto_spec(table, say)
    if spec is None:
        return None
    svg: str = vl_convert.vegalite_to_svg(spec)
    return svg


def _panel(points: list[dict[str, Any]], quality: str, cost: str, indexes: list[str]) -> Any:
    x = alt.X("cost:Q").title(cost).scale(type="log", nice=False, padding=16).axis(format="~s", tickCount=4)
    y = alt.Y("quality:Q").title(quality).scale(zero=False, nice=True)
    legend = alt.Legend(orient="bottom", columns=6, labelLimit=0, symbolLimit=0, title=None, symbolOpacity=1)
    color = alt.Color("index:N").scale(domain=indexes, range=_cycle(_COLOURS, len(indexes))).legend(legend)
    shape = alt.Shape("index:N").scale(domain=indexes, range=_cycle(_SHAPES, len(indexes))).legend(legend)
    base = alt.Chart(alt.InlineData(values=points))
    line = base.transform_filter("datum.front").mark_line(color="#8a8a8a", strokeWidth=1.5).encode(x=x, y=y)
    marks = base.mark_point(filled=True, size=70, opacity=1).encode(x=x, y=y, color=color, shape=shape)
    text = base.mark_text(align="left", dx=7, dy=-6, fontSize=11, color="#333333").encode(x=x, y=y, text="rank:N")
    return alt.layer(line, marks, text).properties(width=400, height=260)


def _cycle(values: tuple[str, ...], number: int) -> list[str]:
    return [values[i % len(values)] for i in range(number)]
