"""The eigenvalues of the vectors that methods were fitted on, which show how anisotropic an encoder is."""

from __future__ import annotations

from typing import Any

import altair as alt

from hengyu.report.charts.style import COLOURS, Chart, dressed, fixed_scale
from hengyu.report.sheet import Sheet
from hengyu.storage.records import Run

__all__ = ["spectra"]

_FEWEST = 3  # points of a curve
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4])


def spectra(run: Run) -> Chart | None:
    """Return the spectra of a run's fits, one per task, encoder, pooling and fit_on; None for a run without any."""
    found: dict[tuple[str, str, str, str], dict[str, list[float]]] = {}
    for fit in run.header.get("fits", ()):
        outline = fit.get("spectrum")
        # in a pipeline the first fit is that of the encoder's own vectors
        if outline and len(outline.get("index") or ()) >= _FEWEST:
            found.setdefault((fit["task"], fit["encoder"], fit["pooling"], fit["fit_on"]), outline)
    if not found:
        return None
    names = list(dict.fromkeys(key[3] for key in found))
    places = sorted({n for o in found.values() for n in map(int, o["index"]) if n & (n - 1) == 0})
    rows = []
    for key, outline in found.items():
        at = dict(zip(outline["index"], outline["share"], strict=True))
        rows.append((*key, *(f"{at[i]:.3g}" if i in at else "" for i in places)))
    heads = ("task", "encoder", "pooling", "fit_on", *map(str, places))
    return Chart(
        "spectra",
        "Eigenvalues",
        "The eigenvalues of the covariance that methods were fitted on, over the largest, in descending order; both scales "
        "are logarithmic. Whitening makes all of them equal, and a steep fall means that it magnifies directions that hold "
        "little.",
        _picture(names),
        (("Task", ("task",)), ("Encoder and pooling", ("encoder", "pooling"))),
        tuple(
            {"same": dict(zip(("task", "encoder", "pooling", "fit_on"), key, strict=True)), "each": outline}
            for key, outline in found.items()
        ),
        Sheet("Eigenvalues", "", heads, tuple(rows), frozenset(range(4, len(heads)))),
    )


def _picture(names: list[str]) -> dict[str, Any]:
    legend = alt.Legend(orient="bottom", title="fit_on", labelLimit=0, symbolStrokeWidth=2, symbolSize=200)
    line = (
        alt.Chart(alt.NamedData(name="points"))
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("index:Q").title("place of the eigenvalue").scale(type="log", base=2, nice=False).axis(grid=False),
            y=alt.Y("share:Q").title("eigenvalue over the largest").scale(type="log").axis(format="~e"),
            color=alt.Color("fit_on:N").scale(**fixed_scale(names, COLOURS)).legend(legend),
            strokeDash=alt.StrokeDash("fit_on:N").scale(**fixed_scale(names, _DASHES)).legend(legend),
            tooltip=[
                alt.Tooltip("fit_on:N", title="fit_on"),
                alt.Tooltip("index:Q", title="place of the eigenvalue"),
                alt.Tooltip("share:Q", format=".3g", title="eigenvalue over the largest"),
            ],
        )
    )
    return dressed(line.properties(height=300))
