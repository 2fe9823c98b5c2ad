"""The page in Chromium, from a file: sorts, searches, draws, fits a phone, fetches nothing, runs no name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import runs

from hengyu.report.board import make_board
from hengyu.report.html import write_report

pytestmark = pytest.mark.browser

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = ("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
         "disable-component-update", "disable-sync")  # fmt: skip


@pytest.fixture(scope="module")
def chromium(tmp_path_factory) -> Iterator:
    """A browser of its own; without Chromium the tests are skipped, in CI they fail."""
    if not (CHROMIUM.exists() and DRIVER.exists()):
        reason = f"{CHROMIUM} or {DRIVER} is missing (apt-get install chromium chromium-driver)"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(reason)
        pytest.skip(reason)
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, str]:
    """Addresses of the pages, by name."""
    root = tmp_path_factory.mktemp("pages")
    made = {"plain": runs.make_run(), "hostile": runs.make_run(hostile=True)}
    return {name: write_report(run, root / name).as_uri() for name, run in made.items()}


def _open(driver, address, width=1280):
    from selenium.webdriver.support.wait import WebDriverWait

    driver.get_log("browser"), driver.get_log("performance")
    _narrow(driver, width)
    driver.get(address)
    ready = "return document.documentElement.dataset.tables && document.querySelector('#chart[data-chart]') && true"
    WebDriverWait(driver, 30).until(lambda d: d.execute_script(ready))


def _narrow(driver, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def _column(driver, heading):
    """The numbers of a column as shown from top to bottom; None for a cell without one."""
    return driver.execute_script(
        """const table = document.getElementById('board');
        const at = [...table.tHead.rows[0].cells].findIndex((c) => c.textContent.startsWith(arguments[0]));
        return [...table.tBodies[0].rows].map((r) => r.cells[at].dataset.order === '' ? null : +r.cells[at].dataset.order)""",
        heading,
    )


def _click(driver, heading):
    driver.execute_script(
        """[...document.querySelectorAll('#board thead th')].find((c) => c.textContent.startsWith(arguments[0])).click()""",
        heading,
    )


@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_it_opens_without_an_error_and_without_the_network(chromium, pages, name):
    _open(chromium, pages[name])
    assert [entry["message"] for entry in chromium.get_log("browser")] == []
    events = (json.loads(entry["message"])["message"] for entry in chromium.get_log("performance"))
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in asked) == 1
    assert chromium.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)") == []


def test_a_heading_sorts_by_number_and_holes_stay_last(chromium, pages):
    _open(chromium, pages["plain"])
    before = _column(chromium, "STS-B:test")
    for reverse in (True, False):
        _click(chromium, "STS-B:test")
        values = _column(chromium, "STS-B:test")
        numbers = [v for v in values if v is not None]
        assert numbers == sorted(numbers, reverse=reverse)
        assert values == numbers + [None] * (len(values) - len(numbers))
        assert min(numbers) < 0, "a text sort would put the minus elsewhere"
    _click(chromium, "STS-B:test")
    assert _column(chromium, "STS-B:test") == before


def test_the_keyboard_sorts_too(chromium, pages):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    _open(chromium, pages["plain"])
    head = chromium.execute_script(
        "return [...document.querySelectorAll('#board thead th')].find((c) => c.textContent.startsWith('BQ'))"
    )
    target = chromium.execute_script("return arguments[0].querySelector('[tabindex]') || arguments[0]", head)
    assert target.get_attribute("aria-label").startswith("BQ:test: ")
    target.send_keys(Keys.ENTER)
    WebDriverWait(chromium, 20).until(lambda _: head.get_attribute("aria-sort") == "descending")
    values = [v for v in _column(chromium, "BQ:test") if v is not None]
    assert values == sorted(values, reverse=True)


def test_search_filters_rows(chromium, pages):
    _open(chromium, pages["plain"])
    field = chromium.find_element("id", "search")
    rows = "return document.querySelectorAll('#board tbody tr').length"
    total = chromium.execute_script(rows)
    assert total == len(make_board(runs.make_run()).rows)
    field.send_keys("示例编码器 jl")
    assert chromium.execute_script(rows) == 3
    assert chromium.find_element("id", "count").text == f"3 of {total} rows"
    field.clear()
    field.send_keys("没有这样的名字")
    assert "no row holds these words" in chromium.find_element("id", "board").text


def test_the_chart_is_drawn_and_follows_its_selectors(chromium, pages):
    from selenium.webdriver.support.ui import Select
    from selenium.webdriver.support.wait import WebDriverWait

    _open(chromium, pages["plain"])
    drawn = "return document.querySelector('#chart svg').innerHTML"
    before = chromium.execute_script(drawn)
    assert "whitening, fit_on target" in before
    Select(chromium.find_element("id", "chart-task")).select_by_visible_text("STS-B:test")
    WebDriverWait(chromium, 20).until(lambda d: d.execute_script(drawn) != before)
    assert chromium.get_log("browser") == []


@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_a_phone_scrolls_the_table_and_not_the_page(chromium, pages, name):
    _open(chromium, pages[name], width=360)
    chromium.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    page, shown = chromium.execute_script("const e = document.documentElement; return [e.scrollWidth, e.clientWidth]")
    assert page <= shown <= 360
    inside = chromium.execute_script(
        "const e = document.querySelector('.scroll'); return [e.scrollWidth > e.clientWidth, getComputedStyle(e).overflowX]"
    )
    assert inside == [True, "auto"]
    mean = "return [...document.querySelectorAll('#board td.score')][0].getBoundingClientRect().right"
    assert chromium.execute_script(mean) <= 360, "the mean is seen without scrolling"


def test_hostile_names_are_text(chromium, pages):
    _open(chromium, pages["hostile"])
    shown = chromium.execute_script("return document.getElementById('board').textContent")
    for name in runs.HOSTILE:
        assert name in shown
    assert chromium.execute_script("return document.images.length") == 0
    assert "<script>alert(1)</script>, mean" in chromium.find_element("id", "chart-space").text
    # an alert would make every command above fail
    assert chromium.execute_script("return document.querySelectorAll('script').length") == 5


def test_it_can_be_read_without_javascript(chromium, pages):
    run = runs.make_run()
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chromium.get(pages["plain"])
        text = chromium.find_element("tag name", "main").text
        assert not chromium.find_element("id", "search").is_displayed()
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    for row in make_board(run).rows:
        assert row.entry in text
        assert all(cell.text in text for cell in row.cells)
    assert "The same numbers as a table" in text
