"""How encoders were trained, step by step: loss, uniformity, alignment, held-out Spearman and effective rank."""

from __future__ import annotations

from typing import Any

import altair as alt

from hengyu.report.charts.style import COLOURS, Chart, dressed, fixed_scale
from hengyu.report.charts.trainings import tunings
from hengyu.report.sheet import Sheet
from hengyu.storage.records import Run

__all__ = ["courses"]

_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4])
_FEWEST = 3  # points of a curve
_WORDS = {
    "loss": "loss",
    "held_out_spearman": "held-out Spearman",
    "alignment": "alignment",
    "uniformity": "uniformity",
    "effective_rank": "effective rank",
}


def courses(run: Run) -> Chart | None:
    """Return the training curves of a run's fine-tuned encoders, one quantity per view; None without any."""
    groups: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    for one in tunings(run):
        steps = [int(step) for step in one.get("step", ())]
        if len(steps) < _FEWEST:
            continue
        seed = one.get("seed")
        # the seed comes first: long legends are cut at the end
        name = (f"seed {seed}: " if seed is not None else "") + f"{one.get('name')}, fit_on {one.get('fit_on')}"
        same = {"task": one.get("task"), "encoder": one.get("encoder"), "pooling": one.get("pooling"), "tuner": name}
        # losses are means since the previous evaluation, so the first one has none
        seen = {key: [None] * (len(steps) - len(one.get(key, ()))) + list(one.get(key, ())) for key in _WORDS}
        for key, values in seen.items():
            points = [(step, value) for step, value in zip(steps, values, strict=True) if value is not None]
            if len(points) >= _FEWEST:
                each = {"step": [step for step, _ in points], "value": [value for _, value in points]}
                groups.append({"same": {**same, "label": _WORDS[key]}, "each": each})
        for at, step in enumerate(steps):
            cells = ("" if seen[key][at] is None else f"{seen[key][at]:.4f}" for key in _WORDS)
            rows.append((*(str(v) for v in same.values()), str(step), *cells))
    if not groups:
        return None
    heads = ("task", "encoder", "pooling", "tuner", "step", *_WORDS.values())
    return Chart(
        "courses",
        "Training of the encoders",
        "The model evaluated during its training, on the same sentences and held-out pairs every time. Uniformity: lower is "
        "more evenly spread over the sphere; alignment: lower is closer for pairs that mean the same; an effective rank near "
        "1 is a collapse. The held-out pairs are of the valid split; nothing is chosen by them, unless a tuner has patience.",
        _picture(list(dict.fromkeys(group["same"]["tuner"] for group in groups))),
        (("Task", ("task",)), ("Encoder and pooling", ("encoder", "pooling")), ("Quantity", ("label",))),
        tuple(groups),
        Sheet("Training of the encoders", "", heads, tuple(rows), frozenset(range(4, len(heads)))),
    )


def _picture(names: list[str]) -> dict[str, Any]:
    legend = alt.Legend(
        orient="bottom", direction="vertical", title=None, labelLimit=300, symbolStrokeWidth=2, symbolSize=200
    )
    line = (
        alt.Chart(alt.NamedData(name="points"))
        .mark_line(strokeWidth=2, point=True)
        .encode(
            x=alt.X("step:Q").title("step").axis(grid=False),
            y=alt.Y("value:Q").title(None).scale(zero=False),
            color=alt.Color("tuner:N").scale(**fixed_scale(names, COLOURS)).legend(legend),
            strokeDash=alt.StrokeDash("tuner:N").scale(**fixed_scale(names, _DASHES)).legend(legend),
            tooltip=[
                alt.Tooltip("tuner:N", title="tuner"),
                alt.Tooltip("step:Q", title="step"),
                alt.Tooltip("value:Q", format=".4f", title=" "),
            ],
        )
    )
    return dressed(line.properties(height=300))
