"""The angles between random sentences before (raw) and after a method, with those of independent directions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import altair as alt

from hengyu.numerics.cloud import random_histogram
from hengyu.numerics.cloud_sample import BINS
from hengyu.report.charts.style import Chart, dressed, fixed_scale
from hengyu.report.sheet import Sheet
from hengyu.storage.records.clouds import CloudOf

__all__ = ["angles"]

_MANY = 2000  # clouds beyond which the board fills the page
_MOST, _FEWER = 400, 60  # geometries that the page draws, if there are more than that
_WIDTH = 180 / BINS
_LINES = {"after": ("#0072B2", [1, 0]), "raw": ("#D55E00", [6, 3]), "independent directions": ("#7A7A7A", [2, 2])}
_SEEN = 5e-5  # smaller shares are not drawn
_HEADS = (
    *("task", "encoder", "pooling", "method", "fit_on", "dim", "angle", "angle deviation", "5 %", "median", "95 %"),
    *("independent, 5 %", "independent, 95 %"),
)


def angles(clouds: Sequence[CloudOf]) -> Chart | None:
    """Return the histograms of a run's angles; None for a run without any."""
    found = [c for c in clouds if c.angles]
    if not found:
        return None
    drawn = found[: _FEWER if len(found) > _MANY else _MOST]
    about = (
        "The angles between the vectors of random pairs of sentences, after the method (solid) and before it (raw, dashed). "
        "Dotted: independent directions, in as many dimensions. The nearer a line comes to the dotted one, the more of the "
        "space is used; left of it, the vectors point one way."
    )
    if len(drawn) < len(found):
        about += f" The first {len(drawn):,} of {len(found):,}; the rest is in clouds.json of the run."
    return Chart(
        "angles",
        "Angles of random pairs",
        about,
        _picture(),
        (("Task", ("task",)), ("Encoder and pooling", ("encoder", "pooling")), ("Method", ("method",))),
        tuple(group for c in drawn for group in _groups(c)),
        Sheet("Angles of random pairs", "", _HEADS, tuple(map(_row, drawn)), frozenset(range(5, len(_HEADS)))),
    )


def _groups(cloud: CloudOf) -> tuple[dict[str, Any], ...]:
    """Return the line of one geometry and that of independent directions."""
    raw = cloud.entry == "raw"
    method = f"{cloud.entry}, fit_on {cloud.fit_on}" if cloud.fit_on != "none" else cloud.entry
    same = {
        **{"task": cloud.task, "encoder": cloud.encoder, "pooling": cloud.pooling},
        **{"method": None if raw else method, "stage": "raw" if raw else "after"},
    }
    lines = {"raw" if raw else "after": (cloud.angles_from, cloud.angles)}
    if cloud.dim > 1:
        lines["independent directions"] = _independent(cloud.dim)
    return tuple({"same": {**same, "rows": name}, "each": _line(*line)} for name, line in lines.items())


def _line(first: int, shares: Sequence[float]) -> dict[str, list[float]]:
    """Return the middles of the bins and their shares in %, with an empty bin at both ends to end the line at 0."""
    whole = [s if s >= _SEEN else 0.0 for s in (0.0, *shares, 0.0)]
    at = [(i, s) for i, s in enumerate(whole, first - 1) if 0 <= i < BINS]
    return {
        "angle": [round((i + 0.5) * _WIDTH, 1) for i, _ in at],
        "share": [round(100 * s, 2) + 0.0 for _, s in at],
    }


@cache
def _independent(dim: int) -> tuple[int, tuple[float, ...]]:
    """Return the first visible bin of independent directions, and the shares from it to the last."""
    shares = random_histogram(dim, BINS)
    seen = [i for i, share in enumerate(shares) if share >= _SEEN]
    return seen[0], shares[seen[0] : seen[-1] + 1]


def _row(cloud: CloudOf) -> tuple[str, ...]:
    own = [_quantile(cloud.angles_from, cloud.angles, p) for p in (0.05, 0.5, 0.95)]
    free = [_quantile(*_independent(cloud.dim), p) for p in (0.05, 0.95)] if cloud.dim > 1 else []
    numbers = (cloud.angle_mean, cloud.angle_sd, *own, *free, *[None] * (2 - len(free)))
    return (*cloud.place, str(cloud.dim), *("" if v is None else f"{v:.1f}" for v in numbers))


def _quantile(first: int, shares: Sequence[float], p: float) -> float:
    """Return the angle below which a share p of the pairs is, linear within a bin."""
    left = p * sum(shares)
    for i, share in enumerate(shares, first):
        if share >= left > 0:
            return (i + left / share) * _WIDTH
        left -= share
    return (first + len(shares)) * _WIDTH


def _picture() -> dict[str, Any]:
    legend = alt.Legend(orient="bottom", title=None, labelLimit=0, symbolStrokeWidth=2, symbolSize=200)
    names = list(_LINES)
    line = (
        alt.Chart(alt.NamedData(name="points"))
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("angle:Q")
            .title("angle, degrees")
            .scale(domain=[0, 180])
            .axis(grid=False, values=[*range(0, 181, 30)]),
            y=alt.Y("share:Q").title("share of the pairs, %"),
            color=alt.Color("rows:N").scale(**fixed_scale(names, [c for c, _ in _LINES.values()])).legend(legend),
            strokeDash=alt.StrokeDash("rows:N")
            .scale(**fixed_scale(names, [d for _, d in _LINES.values()]))
            .legend(legend),
            detail=["rows:N", "stage:N"],
            tooltip=[
                alt.Tooltip("rows:N", title=" "),
                alt.Tooltip("angle:Q", format=".0f", title="angle, degrees"),
                alt.Tooltip("share:Q", format=".1f", title="share of the pairs, %"),
            ],
        )
    )
    return dressed(line.properties(height=300))
