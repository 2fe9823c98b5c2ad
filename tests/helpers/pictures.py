"""Pictures of the pages as a reader sees them, for a review: ``make pictures`` writes them to tests/golden/pictures."""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from helpers import runs  # noqa: E402
from hengyu.report.page.index import write_index  # noqa: E402
from hengyu.report.page.leaderboard import write_report  # noqa: E402
from hengyu.storage.records import load_run  # noqa: E402

OUT = ROOT / "tests" / "golden" / "pictures"
VIEWS = (
    ("board-1440-light", "board", 1440, "light", "en", 2400),
    ("board-1280-dark", "board", 1280, "dark", "en", 2400),
    ("board-390-zh", "board", 390, "light", "zh", 3000),
    ("search-1280-dark-zh", "search", 1280, "dark", "zh", 2000),
    ("index-1280", "index", 1280, "light", "en", 600),
)
_READY = (
    "const e = document.documentElement;"
    "return e.dataset.tables && (e.dataset.charts || !document.querySelector('section.chart')) && true"
)


def _driver(profile: str) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars", f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    return webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))


def _earlier(root: Path, weeks: int, less: float) -> None:
    """Write the run of the board as it was some weeks ago, with lower scores: the index shows a change and a trend."""
    run = runs.make_run()
    lower = tuple(r if r.value is None else replace(r, value=r.value - less) for r in run.records)
    name = f"{run.id}-{weeks}"
    folder = runs.write_run(replace(run, header={**run.header, "run": name}, records=lower), root)
    then = (folder / "records.json").stat().st_mtime - weeks * 7 * 86400
    os.utime(folder / "records.json", (then, then))


def main() -> None:
    """Write a picture of every view, and the board as it prints."""
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        pages = {}
        for name, run in (("board", runs.make_run()), ("search", runs.make_search())):
            made = load_run(runs.write_run(run, root))
            pages[name] = write_report(made, root / "site" / made.id, listed=True).as_uri()
        for weeks, less in ((1, 0.004), (2, 0.011), (3, 0.009)):
            _earlier(root, weeks, less)
        pages["index"] = write_index(root).as_uri()
        driver = _driver(str(root / "profile"))
        try:
            for name, page, width, scheme, language, height in VIEWS:
                size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
                driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                features = [{"name": "prefers-color-scheme", "value": scheme}]
                driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
                driver.get("about:blank")
                driver.get(f"{pages[page]}#lang={language}")
                WebDriverWait(driver, 60).until(lambda d: d.execute_script(_READY))
                clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 0.6 if width > 500 else 1}
                shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
                (OUT / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
            size = {"width": 1060, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            driver.get("about:blank")
            driver.get(pages["board"])
            WebDriverWait(driver, 60).until(lambda d: d.execute_script(_READY))
            clip = {"x": 0, "y": 0, "width": 1060, "height": 1500, "scale": 0.7}
            shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
            (OUT / "board-print.png").write_bytes(base64.b64decode(shot["data"]))
        finally:
            driver.quit()


if __name__ == "__main__":
    main()
