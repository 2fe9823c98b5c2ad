"""Write docs/assets/equal-bytes.png, or with CMTEB=RUN docs/assets/equal-bytes-cmteb.png: `make equal-bytes-picture`.

STS and RETRIEVAL are runs of the two suites of that name; CMTEB is one of suites/equal-bytes.toml on several tasks, whose mean is
shown, and whose table is printed in Markdown.
"""

from __future__ import annotations

import sys
from pathlib import Path

import altair as alt
import pandas as pd

import hengyu

ASSETS = Path(__file__).resolve().parents[2] / "docs" / "assets"
_MEANS = "mean", "w-mean"  # what a run calls its means over tasks
SIZES = (32, 64, 128)  # bytes that rows are compared at
FAMILIES = {  # name on the picture -> words of which an entry has all
    "RaBitQ after PCA": ("pca", "rabitq"),
    "RaBitQ after whitening": ("whitening", "rabitq"),
    "int8 after PCA": ("pca", "int8"),
    "int8 after whitening": ("whitening", "int8"),
    "product codes (PQ)": ("pq",),
    "signs (simhash)": ("center",),
    "whitening": ("whitening",),
    "PCA": ("pca",),
    "random projection (JL)": ("jl",),
    "truncation": ("truncate",),
}
COLOURS = (
    *("#00796b", "#80cbc4", "#1565c0", "#90caf9", "#ef6c00"),
    *("#8e24aa", "#c62828", "#546e7a", "#9e9d24", "#bdbdbd"),
)


def family(entry: str) -> str:
    """Return the first family that an entry belongs to, "" for none."""
    return next((name for name, words in FAMILIES.items() if all(word in entry for word in words)), "")


def scores(run: str, metric: str) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows of a run that have bytes, of its mean where it has several tasks, and its tasks."""
    table = hengyu.frame(run)
    table = table[(table["metric"] == metric) & table["value"].notna() & ~table["sweep"] & ~table["draw"]]
    sized = table[table["bytes"].notna()]
    tasks = [t for t in dict.fromkeys(sized["task"]) if t not in _MEANS]
    table = table[table["encoder"].isin(sized["encoder"])]  # baselines have none
    table = table.assign(bytes=table["entry"].map(sized.groupby("entry")["bytes"].first()))
    return table[table["bytes"].notna()].astype({"bytes": int}), tasks


def rows(run: str, metric: str) -> tuple[pd.DataFrame, float, str]:
    """Return the rows of a run at the sizes that are compared, the value of the vectors as they are, and the task."""
    table, tasks = scores(run, metric)
    table = table[table["task"] == (tasks[0] if len(tasks) == 1 else _MEANS[0])]
    whole = float(table[table["entry"].isin(["raw", "flat"])]["value"].iloc[0])
    table = table.assign(family=table["entry"].map(family))
    table = table[table["bytes"].isin(SIZES) & (table["family"] != "")]
    scaled = {name: 100 * table[name] for name in ("value", "low", "high")}
    return (
        table.assign(**scaled)[["entry", "family", "bytes", *scaled]],
        100 * whole,
        f"{tasks[0]}:{table['split'].iloc[0]}" if len(tasks) == 1 else f"mean of {len(tasks)} tasks",
    )


def panel(run: str, metric: str, title: str, whole_name: str) -> alt.LayerChart:
    """Plot one half: score against bytes, a line a family, with 95 % intervals side by side."""
    table, whole, task = rows(run, metric)
    place = {name: i for i, name in enumerate(FAMILIES)}
    # beside each other, so that intervals can be told apart
    spread = table.assign(
        x=[b * 2 ** ((place[f] - 4.5) / 22) for b, f in zip(table["bytes"], table["family"], strict=True)]
    )
    base = alt.Chart(spread)
    x = alt.X(
        "x:Q",
        scale=alt.Scale(type="log", base=2, domain=[24, 170], nice=False),
        axis=alt.Axis(values=list(SIZES), grid=False),
        title="bytes per vector",
    )
    y = alt.Y("value:Q", scale=alt.Scale(zero=False), title=f"{title} x 100")
    colour = alt.Color(
        "family:N",
        scale=alt.Scale(domain=list(FAMILIES), range=list(COLOURS)),
        legend=alt.Legend(title=None, orient="right", labelLimit=240, symbolType="circle"),
    )
    rule = alt.Chart(pd.DataFrame({"y": [whole]})).mark_rule(strokeDash=[4, 4], color="#424242").encode(y="y:Q")
    bars = base.mark_rule(opacity=0.55).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
    lines = base.mark_line(opacity=0.5).encode(x=x, y=y, color=colour)
    points = base.mark_point(filled=True, size=55, opacity=1).encode(x=x, y=y, color=colour)
    layers = alt.layer(bars, lines, points, rule)
    return layers.properties(width=400, height=380, title=f"{title} x 100, {task}; dashed: {whole_name}, 1,024 bytes")


def picture(halves: list[alt.LayerChart], to: Path) -> None:
    """Write panels beside each other as one picture."""
    chart = alt.hconcat(*halves).properties(background="white")
    chart.configure_axis(labelFontSize=12, titleFontSize=13).save(str(to), scale_factor=1.5)


def markdown(run: str) -> str:
    """Return a run's Spearman as rows of a table, by bytes and score: the mean, its difference from raw, and each task."""
    table, tasks = scores(run, "spearman")
    lines = []
    for row in table[table["task"] == _MEANS[0]].itertuples():
        own = table[table["entry"] == row.entry].set_index("task")["value"]
        mean = f"{100 * row.value:.2f} [{100 * row.low:.2f}, {100 * row.high:.2f}]"
        delta = f"{100 * row.delta:+.2f} [{100 * row.delta_low:+.2f}, {100 * row.delta_high:+.2f}]"
        cells = [str(row.bytes), row.entry, mean, "" if row.entry == "raw" else delta]
        cells += [f"{100 * own[task]:.2f}" for task in tasks]
        lines.append((-row.bytes, -row.value, "| " + " | ".join(cells) + " |"))
    heads = ["bytes", "method", "mean", "difference from raw", *tasks]
    return "\n".join(
        ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|", *(line for *_, line in sorted(lines))]
    )


if __name__ == "__main__":
    ASSETS.mkdir(exist_ok=True)
    match sys.argv[1:]:
        case [sts, retrieval]:
            halves = [panel(sts, "spearman", "Spearman", "raw"), panel(retrieval, "ndcg@10", "nDCG@10", "flat")]
            picture(halves, ASSETS / "equal-bytes.png")
        case [cmteb]:
            picture([panel(cmteb, "spearman", "Spearman", "raw")], ASSETS / "equal-bytes-cmteb.png")
            print(markdown(cmteb))  # noqa: T201
        case _:
            sys.exit("give the runs STS and RETRIEVAL, or CMTEB alone")
