"""How the similarities of a task lie by label, before a method (raw) and after it; read from the kept observations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from hengyu.report.charts.style import Chart, dressed, fixed_scale
from hengyu.report.sheet import Sheet
from hengyu.storage.records import Run
from hengyu.storage.records.observations import kept_in, load_labels
from hengyu.tasks.interface.registry import find_task

__all__ = ["classes", "distributions"]

_MOST = 400  # cells of a run up to which the page carries them
_EDGES = np.linspace(-1.0, 1.0, 51)
_COLOURS = ("#D55E00", "#575757", "#0072B2")
_WIDTHS = (1, 2, 3.5)
_STAGES = {"raw": [5, 3], "after": [1, 0]}
Floats = NDArray[np.float64]


def distributions(run: Run) -> Chart | None:
    """Return the densities of a run's similarities; None where no observations or labels were kept, or too many cells."""
    labels = load_labels(run.path)
    if not labels:
        return None
    kind = find_task(run.kind)
    heads = {t.get("task"): t for t in run.header.get("tasks", ())}
    kept = kept_in(run.path)
    wanted = dict.fromkeys(
        (r.task, *r.row)
        for r in run.records
        if r.metric == kind.main and r.on_board and r.status == "ok" and r.task in labels
    )
    spaces = {place[1:3] for place in wanted if place[3] != kind.reference}
    cells = [place for place in wanted if place in kept and place[1:3] in spaces]
    if not cells or len(cells) > _MOST:
        return None
    groups: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    for place in cells:
        x = kept[place][0].read()  # of several seeds the first: they differ by less than a line is wide
        y = labels[place[0]]
        if x is None or x.shape != y.shape:
            continue
        for name, members in classes(y, heads.get(place[0], {})):
            groups.append(_group(place, name, x[members]))
            rows.append(_row(place, name, x[members]))
    if not groups:
        return None
    titles = (
        "task",
        "encoder",
        "pooling",
        "method",
        "fit_on",
        "label",
        "pairs",
        "mean",
        "deviation",
        "5 %",
        "median",
        "95 %",
    )
    return Chart(
        "similarities",
        "Similarities by label",
        "How the cosines of a task's pairs lie, label by label: above 0 after the method (solid), below 0 before it (raw, "
        "dashed). What matters is how far the labels lie apart, not where they lie. Heights are drawn by their square root, so "
        "that narrow and wide can be seen together.",
        _picture(),
        (("Task", ("task",)), ("Encoder and pooling", ("encoder", "pooling")), ("Method", ("method",))),
        tuple(groups),
        Sheet("Similarities by label", "", titles, tuple(rows), frozenset(range(6, len(titles)))),
    )


def classes(labels: Floats, head: Mapping[str, Any]) -> Iterable[tuple[str, NDArray[np.bool_]]]:
    """Return the pairs (n,) of each label: 0 and 1, or the thirds of a graded scale; those that have pairs."""
    if head.get("labels") != "graded":
        parts = [("low", labels <= 0.5), ("high", labels > 0.5)]
    else:
        low, high = head.get("scale") or (float(labels.min()), float(labels.max()))
        one, two = low + (high - low) / 3, low + 2 * (high - low) / 3
        parts = [("low", labels < one), ("middle", (labels >= one) & (labels < two)), ("high", labels >= two)]
    return [(name, members) for name, members in parts if members.any()]


def _group(place: tuple[str, ...], label: str, x: Floats) -> dict[str, Any]:
    counts, edges = np.histogram(np.clip(x, -1.0, 1.0), _EDGES)
    width = float(edges[1] - edges[0])
    filled = np.flatnonzero(counts)
    # an empty bin at both ends brings the line down to 0
    span = range(max(0, int(filled[0]) - 1), min(len(counts), int(filled[-1]) + 2))
    task, encoder, pooling, entry, fit_on = place
    raw = entry == "raw"
    same = {
        **{"task": task, "encoder": encoder, "pooling": pooling},
        "method": None if raw else f"{entry}, fit_on {fit_on}" if fit_on != "none" else entry,
        **{"label": label, "stage": "raw" if raw else "after"},
    }
    # before and after are drawn back to back
    sign = -1 if raw else 1
    each = {
        "cosine": [round(float(edges[i]) + width / 2, 4) for i in span],
        "share": [round(sign * 100 * float(counts[i]) / len(x), 2) + 0.0 for i in span],
    }
    return {"same": same, "each": each}


def _row(place: tuple[str, ...], label: str, x: Floats) -> tuple[str, ...]:
    numbers = (x.mean(), x.std(), *np.quantile(x, [0.05, 0.5, 0.95]))
    return (*place, label, f"{len(x):,}", *(f"{v:.3f}" for v in numbers))


def _picture() -> dict[str, Any]:
    names = ["low", "middle", "high"]
    legend = alt.Legend(orient="bottom", title="label", columns=1, symbolSize=200)
    line = (
        alt.Chart(alt.NamedData(name="points"))
        .mark_line(interpolate="step")
        .encode(
            x=alt.X("cosine:Q").title("cosine").scale(zero=False, nice=True).axis(grid=False),
            y=alt.Y("share:Q")
            .title("share of the label's pairs, %")
            .scale(type="sqrt")
            .axis(labelExpr="format(abs(datum.value), '~r')"),
            color=alt.Color("label:O").scale(**fixed_scale(names, _COLOURS)).legend(legend),
            # told without colour, too: the higher the label, the wider the line
            strokeWidth=alt.StrokeWidth("label:O").scale(**fixed_scale(names, _WIDTHS)).legend(legend),
            strokeDash=alt.StrokeDash("stage:N")
            .scale(**fixed_scale(list(_STAGES), list(_STAGES.values())))
            .legend(alt.Legend(orient="bottom", title="stage", columns=1, symbolStrokeWidth=2, symbolSize=200)),
            detail=["label:N", "stage:N"],
            tooltip=[
                alt.Tooltip("label:N", title="label"),
                alt.Tooltip("stage:N", title="stage"),
                alt.Tooltip("cosine:Q", format=".2f", title="cosine"),
                alt.Tooltip("share:Q", format=".1f", title="share of the label's pairs, %"),
            ],
        )
    )
    return dressed(line.properties(height=300))
