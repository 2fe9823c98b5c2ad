"""Training curves of flows: bits per dimension on the training and the held-out rows."""

from __future__ import annotations

from typing import Any

import altair as alt

from hengyu.report.charts.style import Chart, dressed, fixed_scale
from hengyu.report.sheet import Sheet
from hengyu.storage.records import Run

__all__ = ["losses"]

_LINES = {"held out": ("#0072B2", [1, 0]), "trained on": ("#D55E00", [6, 3]), "best linear map": ("#7A7A7A", [2, 2])}
_FEWEST = 3  # points of a curve
_NUMBERS = ("step", "train_bits", "held_out_bits")


def losses(run: Run) -> Chart | None:
    """Return the training curves of a run's fits; None if nothing was trained."""
    groups: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    for fit in run.header.get("fits", ()):
        for one in fit.get("trained", ()):
            if not all(len(one.get(name) or ()) >= _FEWEST for name in _NUMBERS):
                continue
            seed = fit.get("seed")
            name = f"{fit.get('entry')}, fit_on {fit.get('fit_on')}" + (f", seed {seed}" if seed is not None else "")
            same = {"task": fit.get("task"), "encoder": fit.get("encoder"), "pooling": fit.get("pooling"), "fit": name}
            groups += _groups(same, one)
            last = [_bits(one[k][-1]) for k in _NUMBERS[1:]]
            best = min(v for v in one["held_out_bits"] if v is not None)
            numbers = (str(one["step"][-1]), *last, _bits(best), _bits(one.get("linear_bits")))
            rows.append((*(str(v) for v in same.values()), *numbers))
    if not groups:
        return None
    heads = (
        "task",
        "encoder",
        "pooling",
        "fit",
        "steps",
        "trained on, last",
        "held out, last",
        "held out, best",
        "best linear map",
    )
    return Chart(
        "losses",
        "Training of the flows",
        "Bits per dimension, fewer are better: on the rows trained on and on those held out. The dotted line is the best "
        "linear map, which a flow has to pass to have learned more than whitening.",
        _picture(),
        (("Task", ("task",)), ("Encoder and pooling", ("encoder", "pooling")), ("Fit", ("fit",))),
        tuple(groups),
        Sheet("Training of the flows", "", heads, tuple(dict.fromkeys(rows)), frozenset(range(4, len(heads)))),
    )


def _bits(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _groups(same: dict[str, Any], one: dict[str, Any]) -> list[dict[str, Any]]:
    steps = list(one["step"])
    lines = {"held out": one["held_out_bits"], "trained on": one["train_bits"]}
    if one.get("linear_bits") is not None:
        lines["best linear map"] = [one["linear_bits"]] * len(steps)
    return [
        {
            "same": {**same, "rows": name},
            "each": {"step": steps, "bits": [None if v is None else round(v, 4) for v in values]},
        }
        for name, values in lines.items()
        if len(values) == len(steps)
    ]


def _picture() -> dict[str, Any]:
    legend = alt.Legend(orient="bottom", title=None, symbolStrokeWidth=2, symbolSize=200)
    color = alt.Color("rows:N").scale(**fixed_scale(list(_LINES), [c for c, _ in _LINES.values()])).legend(legend)
    dash = alt.StrokeDash("rows:N").scale(**fixed_scale(list(_LINES), [d for _, d in _LINES.values()])).legend(legend)
    line = (
        alt.Chart(alt.NamedData(name="points"))
        .mark_line(strokeWidth=2, clip=True)
        .encode(
            x=alt.X("step:Q").title("step").axis(grid=False),
            y=alt.Y("bits:Q").title("bits per dimension").scale(zero=False),
            color=color,
            strokeDash=dash,
            tooltip=[
                alt.Tooltip("rows:N", title=" "),
                alt.Tooltip("step:Q", title="step"),
                alt.Tooltip("bits:Q", format=".4f"),
            ],
        )
    )
    return dressed(line.properties(height=300))
