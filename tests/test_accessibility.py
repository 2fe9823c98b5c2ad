"""The pages have none of the faults that axe-core finds, in light and dark, in English and Chinese, on a screen and a phone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from helpers import runs
from selenium.webdriver.support.wait import WebDriverWait

from hengyu.report.page.index import write_index
from hengyu.report.page.leaderboard import write_report
from hengyu.storage.records import load_run

pytestmark = pytest.mark.browser

AXE = Path(sys.prefix) / "node_modules" / "axe-core" / "axe.min.js"  # `make setup` of developers: npm
_READY = (
    "const e = document.documentElement;"
    "return e.dataset.tables && (e.dataset.charts || !document.querySelector('section.chart')) && true"
)


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.is_file():
        pytest.skip(f"{AXE} is missing (npm install --no-save --prefix {sys.prefix} axe-core)")
    return AXE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def addresses(tmp_path_factory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("reports")
    found = {}
    for name, run in (("board", runs.make_run()), ("search", runs.make_search())):
        made = load_run(runs.write_run(run, root))
        found[name] = write_report(made, root / "site" / made.id, listed=True).as_uri()
    return found | {"index": write_index(root).as_uri()}


@pytest.mark.parametrize(
    ("name", "width", "scheme", "language"),
    [
        ("board", 1440, "light", "en"),
        ("board", 390, "dark", "zh"),
        ("search", 1280, "dark", "en"),
        ("index", 1280, "light", "zh"),
    ],
)
def test_axe_finds_no_violation(chromium, axe, addresses, name, width, scheme, language):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        chromium.get("about:blank")
        chromium.get(f"{addresses[name]}#lang={language}")
        WebDriverWait(chromium, 60).until(lambda d: d.execute_script(_READY))
        chromium.execute_script("for (const d of document.querySelectorAll('details.folded')) d.open = true")
        chromium.execute_script(axe)
        found = chromium.execute_async_script(
            """const done = arguments[0];
            axe.run(document, {resultTypes: ['violations']}).then((r) => done(r.violations.map((v) =>
              [v.id, v.impact, v.nodes.length, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160))])))"""
        )
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert found == []
