"""Write the pictures of README.md from finished runs: `make readme-pictures BOARD=RUN SIZES=RUN`.

docs/assets/leaderboard.png is the top of the page of BOARD, docs/assets/bytes.png the scores of SIZES against bytes per vector.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import altair as alt
import pandas as pd
from selenium import webdriver

import hengyu
from hengyu.base.paths import reports_dir
from hengyu.storage.records import find_run

ASSETS = Path(__file__).resolve().parents[2] / "docs" / "assets"
WIDTH, HEIGHT = 1440, 860  # pixels
FLAGS = (
    "headless=new",
    "no-sandbox",
    "disable-gpu",
    "disable-background-networking",
    "no-first-run",
    "hide-scrollbars",
)


def leaderboard(run: str, to: Path) -> None:
    """Take a picture of the first screen of a run's page."""
    page = reports_dir() / "site" / find_run(run).name / "index.html"
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"user-data-dir={profile}"):
            options.add_argument(f"--{flag}")
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
        try:
            size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            driver.get(page.as_uri() + "#lang=en")
            driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
            driver.save_screenshot(str(to))
        finally:
            driver.quit()


def scores(run: str) -> pd.DataFrame:
    """Return Spearman x 100 and bytes of the methods of a run, on the mean of its tasks if there are several."""
    table = hengyu.frame(run)
    table = table[(table["metric"] == "spearman") & table["bytes"].notna() & table["value"].notna() & ~table["sweep"]]
    tasks = list(dict.fromkeys(table["task"]))
    task = "mean" if "mean" in tasks else tasks[0]
    best = table[table["task"] == task].sort_values("value", ascending=False).drop_duplicates("entry")
    return best.assign(score=100 * best["value"], low=100 * best["low"], high=100 * best["high"], title=task)


def sizes(run: str, to: Path) -> None:
    """Plot score against bytes per vector, with intervals; raw, and methods that no other beats in both, are named."""
    table = scores(run).sort_values(["bytes", "score"], ascending=[True, False])
    table = table.assign(best=table["score"] > table["score"].cummax().shift(fill_value=float("-inf")))
    table = table.assign(best=table["best"] | (table["entry"] == "raw"))
    ends = [table["bytes"].min() / 2, table["bytes"].max() * 1.2]  # names stand at the left of their points
    x = alt.X(
        "bytes:Q", scale=alt.Scale(type="log", base=2, domain=ends, nice=False), title="bytes per vector (logarithmic)"
    )
    y = alt.Y("score:Q", scale=alt.Scale(zero=False), title=f"Spearman x 100, {table['title'].iloc[0]}")
    base = alt.Chart(table)
    colour = alt.condition(alt.datum.best, alt.value("#00796b"), alt.value("#b0bec5"))
    bars = base.mark_rule(opacity=0.35).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
    points = base.mark_point(filled=True, size=70, opacity=1).encode(x=x, y=y, color=colour)
    names = (
        base.transform_filter(alt.datum.best)
        .mark_text(align="right", dx=-8, dy=-7, fontSize=12)
        .encode(x=x, y=y, text="entry:N")
    )
    chart = alt.layer(bars, points, names).properties(width=820, height=380, background="white")
    chart.configure_axis(labelFontSize=12, titleFontSize=13).save(str(to), scale_factor=1.5)


if __name__ == "__main__":
    board, *small = sys.argv[1:]
    ASSETS.mkdir(exist_ok=True)
    leaderboard(board, ASSETS / "leaderboard.png")
    for run in small:
        sizes(run, ASSETS / "bytes.png")
