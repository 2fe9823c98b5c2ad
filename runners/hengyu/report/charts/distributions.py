"""How the similarities of a task lie by label, before a method (raw) and after it; read from the kept observations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from hengyu.report.board.board import parted
from hengyu.report.charts.style import Chart, dressed, fixed_scale
from hengyu.report.sheet import Sheet
from hengyu.storage.records import Run
from hengyu.storage.records.observations import kept_in, load_labels
from hengyu.tasks.interface.registry import find_task

__all__ = ["classes", "distributions"]

_MOST = 400  # cells of a run up to which the page carries them
_EDGES = np.linspace(-1.0, 1.0, 51)
_LABELS = {"low": ("#D55E00", [2, 2]), "middle": ("#7A7A7A", [6, 3]), "high": ("#0072B2", [1, 0])}
_STAGES = {"raw": 1.0, "after": 0.0}  # where the ridge of each stands
_HEIGHT = 0.9  # of a ridge, so that the two do not touch
Floats = NDArray[np.float64]


def distributions(run: Run) -> Chart | None:
    """Return the densities of a run's cosines; None where no observations or labels were kept, or too many cells.

    Rows by another similarity are left out: their numbers are on another scale.
    """
    labels = load_labels(run.path)
    if not labels:
        return None
    kind = find_task(run.kind)
    heads = {t.get("task"): t for t in run.header.get("tasks", ())}
    kept = kept_in(run.path)
    wanted = dict.fromkeys(
        (r.task, *r.row)
        for r in run.records
        if r.metric == kind.main
        and r.on_board
        and r.status == "ok"
        and r.task in labels
        and parted(r.entry)[1] == "cosine"
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
    _raise(groups)
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
        "How the cosines of a task's pairs are distributed, label by label: above before the method (raw), below after it. "
        "What matters is how far the labels are apart, not where they are. Each of the two has its own height.",
        _picture([name for name in _LABELS if any(g["same"]["label"] == name for g in groups)]),
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
    each = {
        "cosine": [round(float(edges[i]) + width / 2, 4) for i in span],
        "share": [round(100 * float(counts[i]) / len(x), 2) + 0.0 for i in span],
    }
    return {"same": same, "each": each}


def _raise(groups: list[dict[str, Any]]) -> None:
    """Give every point its height on the ridge of its stage, whose highest point is the same in all views of a space."""
    tops: dict[tuple[Any, ...], float] = {}
    for g in groups:
        tops[_ridge(g)] = max(tops.get(_ridge(g), 0.0), *g["each"]["share"])
    for g in groups:
        foot = _STAGES[g["same"]["stage"]]
        g["same"]["foot"] = foot
        g["each"]["height"] = [round(foot + _HEIGHT * s / tops[_ridge(g)], 4) for s in g["each"]["share"]]


def _ridge(group: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(group["same"][name] for name in ("task", "encoder", "pooling", "method", "stage"))


def _row(place: tuple[str, ...], label: str, x: Floats) -> tuple[str, ...]:
    numbers = (x.mean(), x.std(), *np.quantile(x, [0.05, 0.5, 0.95]))
    return (*place, label, f"{len(x):,}", *(f"{v:.3f}" for v in numbers))


def _picture(names: list[str]) -> dict[str, Any]:
    legend = alt.Legend(orient="bottom", title="label", symbolSize=200, symbolStrokeWidth=2)
    colour = alt.Color("label:O").scale(**fixed_scale(names, [_LABELS[n][0] for n in names])).legend(legend)
    # told without colour, too
    dash = alt.StrokeDash("label:O").scale(**fixed_scale(names, [_LABELS[n][1] for n in names])).legend(legend)
    axis = alt.Axis(
        values=list(_STAGES.values()), labelExpr="datum.value == 1 ? 'raw' : 'after'", grid=False, ticks=False
    )
    height = alt.Y("height:Q").title(None).scale(domain=[0, 1 + _HEIGHT + 0.05], nice=False).axis(axis)
    base = alt.Chart(alt.NamedData(name="points")).encode(
        x=alt.X("cosine:Q").title("cosine").scale(zero=False, nice=True).axis(grid=True),
        color=colour,
        detail=["label:N", "stage:N"],
    )
    area = base.mark_area(interpolate="monotone", opacity=0.18).encode(y=height, y2="foot:Q")
    line = base.mark_line(interpolate="monotone", strokeWidth=2).encode(
        y=height,
        strokeDash=dash,
        tooltip=[
            alt.Tooltip("label:N", title="label"),
            alt.Tooltip("stage:N", title="stage"),
            alt.Tooltip("cosine:Q", format=".2f", title="cosine"),
            alt.Tooltip("share:Q", format=".1f", title="share of the label's pairs, %"),
        ],
    )
    return dressed(alt.layer(area, line).properties(height=300))
