"""Write docs/assets/matryoshka.png: `make matryoshka-picture RUN=RUN`, a run of the suite matryoshka."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import altair as alt
import pandas as pd

import hengyu

ASSETS = Path(__file__).resolve().parents[2] / "docs" / "assets"
DIMS = (16, 32, 64, 128)
FAMILIES = {  # name on the picture -> how its entries are written, without dim
    "Matryoshka training, first columns": r"matryoshka\(.*\) > truncate",
    "plain training, first columns": r"mnrl\(.*\) > truncate",
    "plain training, PCA": r"mnrl\(.*\) > pca",
    "PCA": "pca",
    "whitening": "whitening",
    "first columns": "truncate",
    "random projection (JL)": "jl",
}
COLOURS = ("#c62828", "#ef9a9a", "#ef6c00", "#1565c0", "#00796b", "#546e7a", "#9e9d24")


def family(entry: str) -> str:
    """Return the family of an entry with a dim, "" for none."""
    return next((name for name, form in FAMILIES.items() if re.fullmatch(rf"{form}\(dim=\d+\)", entry)), "")


def rows(run: str) -> pd.DataFrame:
    """Return the rows of a run at the numbers of columns that are compared, scores x 100, and those of raw."""
    table = hengyu.frame(run)
    table = table[(table["metric"] == "spearman") & table["value"].notna() & ~table["sweep"] & ~table["draw"]]
    table = table[table["task"] == table["task"].iloc[0]]
    table = table.assign(family=[("raw" if e == "raw" else family(e)) for e in table["entry"]])
    table = table[(table["family"] != "") & (table["dim"].isin(DIMS) | (table["family"] == "raw"))]
    scaled = {name: 100 * table[name] for name in ("value", "low", "high")}
    return table.assign(**scaled)[["encoder", "entry", "family", "dim", *scaled]]


def panel(table: pd.DataFrame, encoder: str) -> alt.LayerChart:
    """Plot one encoder: score against columns, a line a family, with 95 % intervals side by side."""
    own = table[table["encoder"] == encoder]
    cut = own[own["family"] != "raw"]
    place = {name: i for i, name in enumerate(FAMILIES)}
    spread = cut.assign(x=[d * 2 ** ((place[f] - 3) / 18) for d, f in zip(cut["dim"], cut["family"], strict=True)])
    base = alt.Chart(spread)
    x = alt.X(
        "x:Q",
        scale=alt.Scale(type="log", base=2, domain=[13, 155], nice=False),
        axis=alt.Axis(values=list(DIMS), grid=False),
        title="columns",
    )
    y = alt.Y("value:Q", scale=alt.Scale(zero=False), title="Spearman x 100")
    colour = alt.Color(
        "family:N",
        scale=alt.Scale(domain=list(FAMILIES), range=list(COLOURS)),
        legend=alt.Legend(title=None, orient="right", labelLimit=260, symbolType="circle"),
    )
    raw = pd.DataFrame({"y": own[own["family"] == "raw"]["value"]})
    rule = alt.Chart(raw).mark_rule(strokeDash=[4, 4], color="#424242").encode(y="y:Q")
    bars = base.mark_rule(opacity=0.55).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
    lines = base.mark_line(opacity=0.5).encode(x=x, y=y, color=colour)
    points = base.mark_point(filled=True, size=55, opacity=1).encode(x=x, y=y, color=colour)
    return alt.layer(bars, lines, points, rule).properties(
        width=290, height=340, title=f"{encoder}; dashed: raw, all columns"
    )


def picture(run: str, to: Path) -> None:
    """Write one panel an encoder as one picture."""
    table = rows(run)
    cut = table[table["family"] != "raw"]
    panels = [panel(table, encoder) for encoder in dict.fromkeys(cut["encoder"])]
    chart = alt.hconcat(*panels).properties(background="white")
    chart.configure_axis(labelFontSize=12, titleFontSize=13).save(str(to), scale_factor=1.5)


if __name__ == "__main__":
    ASSETS.mkdir(exist_ok=True)
    picture(sys.argv[1], ASSETS / "matryoshka.png")
