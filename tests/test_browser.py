"""The page in Chromium, from a file: sorts, searches, draws, fits a phone, fetches nothing, runs no name."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from helpers import observed, runs

from hengyu.evaluation.comparison import compare
from hengyu.report.board.board import make_board
from hengyu.report.comparison.text import write_comparison
from hengyu.report.exports.table import export_latex
from hengyu.report.page.index import write_index
from hengyu.report.page.leaderboard import write_report
from hengyu.storage.records import Difference
from hengyu.storage.records.clouds import load_clouds, save_clouds

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, str]:
    """Addresses of the pages, by name."""
    root = tmp_path_factory.mktemp("pages")
    made = {"plain": runs.make_run(), "hostile": runs.make_run(hostile=True)}
    made["search"] = runs.make_search(hostile=True)
    for name, run in made.items():
        made[name] = replace(run, path=runs.write_run(run, root / name))
    labels = (np.arange(200) % 3 == 0).astype(float)
    noise = np.random.default_rng(0).normal(size=(2, 200))
    rows = [("hengyu-mini", "mean", "raw", "none"), ("<script>alert(1)</script>", "mean", "flow", "target")]
    rows = [*rows, (rows[1][0], *rows[0][1:])]
    seen = {row: {"A:test": labels + noise[i % 2]} for i, row in enumerate(rows)}
    said = {"title": "Two; methods", "title_zh": "两种方法", "description": "On A; <b>not</b> B."}
    charted = observed.write(root, "charted", {"A:test": labels}, seen, **said)
    trained = {"step": [1, 2, 3], "train_bits": [3, 2, 1], "held_out_bits": [3, 2.5, 2], "linear_bits": 2.2}
    fit = {
        "task": "A:test",
        "encoder": "m",
        "pooling": "mean",
        "entry": "flow",
        "fit_on": "target",
        "trained": [trained],
    }
    made["charted"] = replace(charted, differences=DIFFERENCES, header={**charted.header, "fits": [fit]})
    numbers = [
        r for r in made["plain"].records if r.task == "ATEC:test" and r.metric == "spearman" and r.status == "ok"
    ]
    whole = {"task": "ATEC:w-avg", "split": "train+valid+test", "encoder": "google-bert/bert-base-chinese"}
    kinds = (("raw", "none", "cls"), ("whitening(dim=256)", "all", "cls"), ("raw", "none", "first-last-mean"))
    figures = [
        replace(r, **whole, entry=e, fit_on=f, pooling=p) for r, (e, f, p) in zip(numbers[:3], kinds, strict=True)
    ]
    made["figures"] = replace(made["plain"], records=tuple(figures))
    found = {name: write_report(run, root / name).as_uri() for name, run in made.items()}
    compared = compare(charted, chosen={"encoder": [rows[0][0], rows[1][0]]})
    (root / "hostile" / "records" / made["hostile"].id).rename(root / "plain" / "records" / "other")
    found["index"] = write_index(root / "plain").as_uri()
    return found | {"compared": write_comparison(compared, root / "compared").as_uri()}


DIFFERENCES = (
    Difference("A:test", "m", "mean", "target", "flow", "whitening", 100, 0.012, 0.002, 0.02),
    Difference("A:test", "<b>m</b>", "cls", "target", "flow", "whitening", 100, -0.012, -0.03, -0.001),
)


def _open(driver, address, width=1280):
    from selenium.webdriver.support.wait import WebDriverWait

    driver.get_log("browser"), driver.get_log("performance")
    _narrow(driver, width)
    driver.get(address)
    ready = (
        "const e = document.documentElement;"
        "return e.dataset.tables && (e.dataset.charts || !document.querySelector('section.chart')) && true"
    )
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


@pytest.mark.parametrize("name", ["plain", "hostile", "charted", "compared", "index"])
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
    assert "no row is left" in chromium.find_element("id", "board").text


def _pick(driver, facet, value):
    driver.execute_script(
        """const pick = document.querySelector(`[data-pick="${arguments[0]}"]`); pick.open = true;
        [...pick.querySelectorAll('label')].find((l) => l.textContent.trim() === arguments[1]).querySelector('input').click()""",
        facet,
        value,
    )


def _rows(driver):
    """The rows that are shown, as (entry, encoder, pooling, baseline)."""
    return driver.execute_script(
        """return [...document.querySelectorAll('#board tbody tr')].filter((r) => r.cells.length > 1).map((r) => [
        r.querySelector('th bdi').textContent, r.querySelector('td.apart bdi').textContent,
        r.querySelectorAll('td.apart bdi')[1].textContent, r.classList.contains('baseline')])"""
    )


def _choose(driver, field, value):
    driver.execute_script(
        "const e = document.getElementById(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('change'))",
        field,
        value,
    )


def test_facets_filter_rows_together_and_baselines_stay_until_they_are_let_go(chromium, pages):
    _open(chromium, pages["plain"])
    _pick(chromium, "encoder", "hengyu-mini")
    _pick(chromium, "family", "whitening")
    _pick(chromium, "pooling", "cls")
    _pick(chromium, "pooling", "mean")
    shown = _rows(chromium)
    models = [r for r in shown if not r[3]]
    wanted = [
        [r.entry, r.encoder, r.pooling, False]
        for r in make_board(runs.make_run()).rows
        if r.encoder == "hengyu-mini" and r.family == "whitening" and r.pooling in ("cls", "mean")
    ]
    assert models == wanted and len(models) == 6
    assert len(shown) - len(models) == 3
    chromium.execute_script("document.getElementById('baselines').click()")
    assert _rows(chromium) == wanted
    chromium.execute_script("document.getElementById('reset').click()")
    assert len(_rows(chromium)) == len(make_board(runs.make_run()).rows)


@pytest.mark.parametrize(("kind", "part"), [("encoder", 1), ("family", 0)])
def test_collapsing_keeps_the_best_row_of_each_kind(chromium, pages, kind, part):
    _open(chromium, pages["plain"])
    chromium.execute_script("document.getElementById('baselines').click()")
    _choose(chromium, "show", kind)
    first: dict[str, list] = {}
    for r in make_board(runs.make_run()).rows:
        first.setdefault(getattr(r, kind), [r.entry, r.encoder, r.pooling, r.baseline])
    assert _rows(chromium) == list(first.values())


def test_rows_level_with_the_best_are_one_group(chromium, pages):
    _open(chromium, pages["plain"])
    chromium.execute_script("document.getElementById('baselines').click()")
    _choose(chromium, "show", "tied")
    board = make_board(runs.make_run())
    level = [r for r in board.rows if r.cells[board.main].tied or r.cells[board.main].best]
    assert 1 < len(level) < len(board.rows)
    assert [r[:3] for r in _rows(chromium)] == [[r.entry, r.encoder, r.pooling] for r in level]


def test_pinned_rows_pass_every_filter_and_stay_in_sight_wherever_they_stand(chromium, pages):
    _open(chromium, pages["plain"])
    whole = _rows(chromium)
    _choose(chromium, "pin", "baseline")
    assert _rows(chromium) == whole, "they stay in their places"
    inside = """const f = document.querySelector('#board').closest('.scroll'), box = f.getBoundingClientRect();
        const rows = [...f.querySelectorAll('tr.pinned')].map((r) => r.cells[1].getBoundingClientRect());
        const top = document.querySelector('#board thead').getBoundingClientRect().height;
        return rows.map((r, i) => r.top >= box.top + top - 2 && r.bottom <= box.bottom + 2
            && (i === 0 || r.top >= rows[i - 1].bottom - 2))"""
    for heading in ("", "STS-B:test", "STS-B:test"):
        if heading:
            _click(chromium, heading)
        for part in (0, 0.5, 1):
            chromium.execute_script(
                "const f = document.querySelector('#board').closest('.scroll'); f.scrollTop = arguments[0] * f.scrollHeight",
                part,
            )
            assert chromium.execute_script(inside) == [True] * 3
    chromium.execute_script("document.getElementById('baselines').click()")
    chromium.find_element("id", "search").send_keys("jl")
    shown = _rows(chromium)
    assert sum(r[3] for r in shown) == 3 and len(shown) == 3 + sum("jl" in r[0] for r in whole)
    _choose(chromium, "pin", "raw")
    assert {tuple(r) for r in whole if r[0] == "raw" or r[3]} <= {tuple(r) for r in _rows(chromium)}
    _choose(chromium, "pin", "")
    assert {r[3] for r in _rows(chromium)} == {False}
    assert chromium.get_log("browser") == []


def test_another_metric_fills_the_board_and_the_first_comes_back_as_it_was(chromium, pages):
    _open(chromium, pages["plain"])
    cells = "return [...document.querySelectorAll('#board td.score')].map((c) => c.textContent)"
    before = chromium.execute_script(cells)
    _choose(chromium, "metric", "auc")
    auc = make_board(runs.make_run(), "auc")
    heads = chromium.execute_script(
        "return [...document.querySelectorAll('#board thead abbr')].map((a) => a.textContent)"
    )
    assert [h for h in heads if ":" in h] == [c.task for c in auc.columns], "columns without a number go"
    assert "difference" not in heads and "mean" not in heads
    texts = chromium.execute_script(cells)
    assert texts[:4] == [
        f"{c.text} {'▲' if c.clear > 0 else '▼' if c.clear < 0 else ''}{c.delta}{c.interval}".replace(" [", "[", 0)
        if c.delta
        else c.text + c.interval
        for c in auc.rows[0].cells
    ]
    assert chromium.find_element("id", "board-metric").text == "Area under the ROC curve"
    _choose(chromium, "metric", "spearman")
    assert chromium.execute_script(cells) == before
    assert chromium.get_log("browser") == []


def test_columns_can_be_hidden(chromium, pages):
    _open(chromium, pages["plain"])
    _pick(chromium, "columns", "PAWSX:test")
    heads = "return document.querySelector('#board thead').textContent"
    assert "PAWSX" not in chromium.execute_script(heads)
    assert len(chromium.find_elements("css selector", "#board tbody tr:first-child td.score")) == 7
    _pick(chromium, "columns", "PAWSX:test")
    assert "PAWSX" in chromium.execute_script(heads)


def _export(driver, kind):
    driver.execute_script("document.querySelector(`[data-format='${arguments[0]}']`).click()", kind)
    text = driver.find_element("id", "paste-text").get_attribute("value")
    link = driver.find_element("id", "paste-file")
    assert link.get_attribute("href").startswith("blob:") and link.get_attribute("download").endswith(f".{kind}")
    driver.execute_script("document.getElementById('paste-close').click()")
    return text


@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_the_view_is_exported_as_it_is_filtered_and_sorted(chromium, pages, name):
    run = runs.make_run(hostile=name == "hostile")
    board = make_board(run)
    encoder = board.rows[0].encoder
    _open(chromium, pages[name])
    _pick(chromium, "columns", "PAWSX:test")
    _pick(chromium, "encoder", encoder)
    chromium.execute_script("document.getElementById('baselines').click()")
    rows = [r for r in board.rows if r.encoder == encoder]
    kept = [i for i in (board.main, *range(len(board.columns))) if board.columns[i].task != "PAWSX:test"]
    kept = list(dict.fromkeys(kept))
    wanted = [(r.entry, board.columns[i].task, r.cells[i].value) for r in rows for i in kept]
    for kind in ("csv", "json"):
        text = _export(chromium, kind)
        got = json.loads(text) if kind == "json" else list(csv.DictReader(io.StringIO(text)))
        assert [(g["entry"], g["task"]) for g in got] == [w[:2] for w in wanted]
        for g, (_, _, value) in zip(got, wanted, strict=True):
            assert (g["value"] in ("", None)) if value is None else float(g["value"]) == pytest.approx(value, abs=6e-5)
    for kind, mark in (("md", "|"), ("tex", "&")):
        text = _export(chromium, kind)
        whole = text.split("\\midrule\nceiling")[0]  # a table for a paper ends in the ceilings and the numbers of pairs
        lines = [li for li in whole.splitlines() if (li.startswith("|") if kind == "md" else li.endswith("\\\\"))]
        assert len(lines) == len(rows) + (2 if kind == "md" else 1)
        assert len({len(re.findall(rf"(?<!\\){re.escape(mark)}", li)) for li in lines}) == 1
        for r, line in zip(rows, lines[-len(rows) :], strict=True):
            assert all(r.cells[i].text in line for i in kept if r.cells[i].value is not None)
        assert "<script" not in text.replace("\\<script", "")
        assert ("**" if kind == "md" else "\\textbf{") in text
    body = text[text.index("\\toprule") : text.index("\\bottomrule")]
    assert not re.search(r"(?<!\\)[#$%_^~<>|]", re.sub(r"\$\^\\d?dagger\$", "", body))


def test_the_page_and_the_command_write_the_same_table_for_a_paper(chromium, pages):
    for name in ("plain", "hostile"):
        _open(chromium, pages[name])
        assert _export(chromium, "tex") == export_latex(runs.make_run(hostile=name == "hostile"))


def test_the_view_stands_in_the_address_and_comes_back_from_it(chromium, pages):
    _open(chromium, pages["plain"])
    whole = _rows(chromium)
    _pick(chromium, "family", "whitening")
    _pick(chromium, "columns", "PAWSX:test")
    _choose(chromium, "metric", "auc")
    chromium.execute_script("document.getElementById('baselines').click()")
    _click(chromium, "BQ:test")
    shown, address = _rows(chromium), chromium.current_url
    assert shown != whole and {"metric=auc", "family=whitening", "baselines=0"} <= set(address.split("#")[1].split("&"))
    chromium.get("about:blank")
    _open(chromium, address)
    assert _rows(chromium) == shown and chromium.find_element("id", "board-metric").text == "Area under the ROC curve"
    assert "PAWSX" not in chromium.execute_script("return document.querySelector('#board thead').textContent")
    chromium.execute_script("document.getElementById('reset').click()")
    assert _rows(chromium) == whole and "#" not in chromium.current_url.rstrip("#")
    chromium.find_element("link text", "Diagnostics").click()
    assert chromium.find_element("css selector", "#diagnostics details").get_attribute("open")
    assert chromium.get_log("browser") == []


def test_the_tables_of_a_retrieval_run_are_exported_as_they_are_searched_and_sorted(chromium, pages):
    _open(chromium, pages["search"])
    chromium.find_element("id", "search").send_keys("target")
    text = _export(chromium, "csv")
    got = list(csv.DictReader(io.StringIO(text)))
    assert got == [
        {k: "" if v is None else str(v) for k, v in row.items()} for row in json.loads(_export(chromium, "json"))
    ]
    assert {g["encoder"] for g in got} == {runs.HOSTILE[0]} and {g["task"] for g in got} == {
        "BQ:test",
        "STS-B:test",
        "mean",
    }
    records = {(r.task, r.entry, r.metric): r for r in runs.make_search(hostile=True).records}
    for g in got:
        r = records.get((g["task"], g["entry"], g["metric"]))
        if r is None or r.value is None:
            assert g["value"] == "" and "failed" in g["reason"]
        else:
            assert float(g["value"]) == pytest.approx(r.value)
            assert (g["low"] == "") == (r.low is None) and (
                r.low is None or float(g["low"]) == pytest.approx(r.low, abs=6e-5)
            )
    assert [g["entry"] for g in got if g["metric"] == "ndcg@10" and g["task"] == "mean"] == [
        "whitening(dim=64) > lsh(bits=256)",
        "ivfpq",
    ]
    for kind, rows in (("md", 3 * 4), ("tex", 3 * 3)):
        text = _export(chromium, kind)
        lines = [li for li in text.splitlines() if (li.startswith("|") if kind == "md" else li.endswith("\\\\"))]
        assert len(lines) == rows and "[40.90, 43.10]" in text and "42.00" in text
        assert "<script" not in text.replace("\\<script", "")
    chromium.find_element("id", "search").clear()
    text = _export(chromium, "md")
    chromium.find_element("id", "language").click()
    assert "失败" in chromium.find_element("tag name", "main").text
    assert _export(chromium, "md") == text and "failed" in text
    assert chromium.get_log("browser") == []


def _found(driver, task="BQ:test"):
    """The entries of a retrieval task that are shown, from top to bottom."""
    return driver.execute_script(
        """const table = document.querySelector(`table[data-task="${arguments[0]}"]`);
        return [...table.querySelectorAll('tbody th > bdi')].map((e) => e.textContent)""",
        task,
    )


def test_the_rows_of_a_retrieval_run_are_chosen_by_what_they_are(chromium, pages):
    _open(chromium, pages["search"])
    whole = _found(chromium)
    assert len(whole) == 4
    lists = "return [...document.querySelectorAll('[data-pick]')].filter((p) => !p.hidden).map((p) => p.dataset.pick)"
    assert chromium.execute_script(lists) == ["family", "index", "fit_on"], "a facet of one value is no choice"
    _pick(chromium, "family", "raw")
    assert _found(chromium) == ["flat", "hnsw", "ivfpq"]
    _pick(chromium, "fit_on", "target")
    assert _found(chromium) == ["ivfpq"] == _found(chromium, "mean"), "every table is filtered alike"
    assert chromium.find_element("id", "count").text == "3 of 12 rows"
    _pick(chromium, "index", "lsh")
    assert _found(chromium) == [] and "no row is left" in chromium.find_element("tag name", "main").text
    chromium.find_element("id", "reset").click()
    assert _found(chromium) == whole and chromium.find_element("id", "count").text == ""
    for kind, shown in {
        "front": ["flat", "hnsw", "whitening(dim=64) > lsh(bits=256)"],
        "encoder": ["flat"],
        "family": ["flat", "whitening(dim=64) > lsh(bits=256)"],
        "index": whole,
    }.items():
        _choose(chromium, "show", kind)
        assert _found(chromium) == shown, kind
    chromium.find_element("id", "reset").click()
    text = _export(chromium, "csv")
    assert {row["dim"] for row in csv.DictReader(io.StringIO(text))} == {"64"}
    assert chromium.get_log("browser") == []


def test_a_search_finds_the_same_rows_after_a_table_was_sorted(chromium, pages):
    _open(chromium, pages["search"])
    for _ in range(2):
        chromium.execute_script("document.querySelectorAll('table[data-task] thead th.entry')[1].click()")
    assert _found(chromium) == sorted(_found(chromium), reverse=True)
    chromium.find_element("id", "search").send_keys("whitening")
    assert _found(chromium) == ["whitening(dim=64) > lsh(bits=256)"]


def test_the_pictures_of_a_retrieval_run_speak_the_language_of_the_page(chromium, pages):
    _open(chromium, pages["search"])
    seen = "return [...document.querySelectorAll('figure.scatter figcaption')].map((p) => p.textContent)"
    english = chromium.execute_script(seen)
    assert len(english) == 12 and english[0] == "nDCG@10 × 100, against queries/s"
    chromium.find_element("id", "language").click()
    assert chromium.execute_script(seen)[0] == "nDCG@10 × 100, 相对于 查询/秒"


def test_a_file_is_written_from_the_page(chromium, pages, tmp_path):
    from selenium.webdriver.support.wait import WebDriverWait

    _open(chromium, pages["plain"])
    chromium.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    text = _export(chromium, "csv")
    chromium.execute_script("document.querySelector(`[data-format='csv']`).click()")
    chromium.find_element("id", "paste-file").click()
    WebDriverWait(chromium, 20).until(lambda _: list(tmp_path.glob("*.csv")))
    (path,) = tmp_path.glob("*.csv")
    assert path.read_bytes().decode("utf-8") == text
    assert chromium.get_log("browser") == []


def test_the_language_switches_stays_in_the_address_and_leaves_names_alone(chromium, pages):
    _open(chromium, pages["plain"])
    english = chromium.find_element("tag name", "main").text
    chromium.find_element("id", "language").click()
    assert chromium.current_url.endswith("#lang=zh")
    assert chromium.find_element("id", "board-title").text == "排行榜: Spearman × 100"
    assert chromium.execute_script("return document.documentElement.lang") == "zh-Hans"
    text = chromium.find_element("id", "board").text
    for word in ("编码器", "池化", "均值", "差值", "上限", "first-last-mean", "whitening(dim=32)", "fit_on"):
        assert word in text
    chromium.refresh()
    assert chromium.find_element("id", "board-title").text == "排行榜: Spearman × 100"
    chromium.find_element("id", "language").click()
    assert chromium.find_element("tag name", "main").text == english
    assert chromium.current_url.endswith("#lang=en")
    assert chromium.get_log("browser") == []


def test_it_prints(chromium, pages):
    _open(chromium, pages["plain"])
    pdf = base64.b64decode(chromium.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    assert pdf.startswith(b"%PDF-") and len(pdf) > 20_000
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not chromium.find_element("id", "tools").find_element("id", "search").is_displayed()
        assert chromium.find_element("id", "board").is_displayed()
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_ten_thousand_cells_open_and_sort_in_two_seconds(chromium, tmp_path):
    run = replace(runs.make_large(1250), path=tmp_path / "run")
    save_clouds(run.path, runs.looked_at(run), 0)
    assert len(load_clouds(run.path)) == 7500
    board = make_board(run)
    assert len(board.rows) * len(board.columns) == 10_000
    page = write_report(run, tmp_path)
    assert page.stat().st_size < 8_000_000
    assert "The first 300 of 7,500 rows" in page.read_text(encoding="utf-8")
    _narrow(chromium, 1280)
    chromium.get("about:blank")
    # the time of the page's own thread, so that other work on the machine does not count
    chromium.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    try:
        before = _busy(chromium)
        chromium.get(page.as_uri())
        assert chromium.execute_script("return document.documentElement.dataset.tables") == "ready"
        opened = _busy(chromium)
        chromium.execute_async_script(
            """const [done] = arguments, body = document.querySelector('#board tbody');
            const head = [...document.querySelectorAll('#board thead th')].find((c) => c.textContent.startsWith('T3'));
            new MutationObserver((_, o) => { o.disconnect(); body.offsetHeight; done(); }).observe(body, {childList: true});
            head.click()"""
        )
        done = _busy(chromium)
    finally:
        chromium.execute_cdp_cmd("Performance.disable", {})
    values = _column(chromium, "T3")
    assert values == sorted(values, reverse=True) and len(values) == 100
    place = [c.task for c in board.columns].index("T3:test")
    assert values[0] == pytest.approx(max(r.cells[place].value for r in board.rows), abs=1e-5)
    assert opened - before < 2 and done - opened < 2


def _busy(driver):
    """Seconds that the page's thread has worked."""
    metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return next(m["value"] for m in metrics if m["name"] == "TaskDuration")


def test_a_long_board_is_paged_searched_whole_and_printed_whole(chromium, tmp_path):
    from selenium.webdriver.support.wait import WebDriverWait

    def shows(rows: int) -> None:
        """Wait until the table shows that many rows: a busy browser is still drawing when it has loaded."""
        WebDriverWait(chromium, 20).until(lambda _: len(_rows(chromium)) == rows)

    _narrow(chromium, 1280)
    chromium.get(write_report(runs.make_large(320), tmp_path).as_uri())
    shows(100)
    assert len(chromium.find_elements("css selector", ".dt-paging-button")) >= 4
    _pick(chromium, "encoder", "encoder-49")
    shows(6)
    chromium.execute_script("document.getElementById('reset').click(); dispatchEvent(new Event('beforeprint'))")
    shows(320)
    chromium.execute_script("dispatchEvent(new Event('afterprint'))")
    shows(100)


def test_the_chart_is_drawn_and_follows_its_selectors(chromium, pages):
    from selenium.webdriver.support.ui import Select
    from selenium.webdriver.support.wait import WebDriverWait

    _open(chromium, pages["plain"])
    drawn = "return document.querySelector('#chart-dimensions svg').innerHTML"
    before = chromium.execute_script(drawn)
    assert "whitening, fit_on target" in before
    Select(chromium.find_element("css selector", "#chart-dimensions select")).select_by_visible_text("STS-B:test")
    WebDriverWait(chromium, 20).until(lambda d: d.execute_script(drawn) != before)
    assert chromium.get_log("browser") == []


def test_published_figures_are_drawn_beside_ours(chromium, pages):
    from selenium.webdriver.support.wait import WebDriverWait

    _open(chromium, pages["figures"], width=360)
    drawn = "return document.querySelector('#chart-published svg').textContent"
    assert "ours" in chromium.execute_script(drawn) and "whitening(dim=256)" in chromium.execute_script(drawn)
    chromium.find_element("id", "language").click()
    WebDriverWait(chromium, 20).until(lambda d: "已发表" in d.execute_script(drawn))
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= 360
    assert chromium.get_log("browser") == []


@pytest.mark.parametrize(("name", "ids"), [("charted", 3), ("compared", 1)])
def test_every_chart_is_drawn_and_speaks_both_languages(chromium, pages, name, ids):
    from selenium.webdriver.support.wait import WebDriverWait

    _open(chromium, pages[name])
    drawn = "return [...document.querySelectorAll('section.chart svg')].map((s) => s.textContent)"
    chromium.execute_script("for (const d of document.querySelectorAll('details.folded')) d.open = true")
    WebDriverWait(chromium, 20).until(lambda d: len(d.execute_script(drawn)) == ids)
    before = chromium.execute_script(drawn)
    assert len(before) == ids and "better" in before[0]
    chromium.find_element("id", "language").click()
    WebDriverWait(chromium, 20).until(lambda d: "更好" in "".join(d.execute_script(drawn)))
    assert "差，Spearman × 100" in chromium.execute_script(drawn)[0]
    assert chromium.execute_script("return document.images.length + document.querySelectorAll('main b b').length") == 0
    assert chromium.get_log("browser") == []


@pytest.mark.parametrize("name", ["plain", "hostile", "charted", "compared", "index", "search"])
def test_a_phone_scrolls_the_table_and_not_the_page(chromium, pages, name):
    _open(chromium, pages[name], width=360)
    chromium.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    page, shown = chromium.execute_script("const e = document.documentElement; return [e.scrollWidth, e.clientWidth]")
    assert page <= shown <= 360
    inside = chromium.execute_script(
        """const e = [...document.querySelectorAll('.scroll')].find((s) => !s.querySelector('.glance, .heatmap'));
        return [e.scrollWidth > e.clientWidth, getComputedStyle(e).overflowX]"""
    )
    assert inside == [True, "auto"]
    mean = "return document.querySelector('#board td.score')?.getBoundingClientRect().right ?? 0"
    assert chromium.execute_script(mean) <= 360, "the mean is seen without scrolling"


def test_the_clouds_sort_by_a_heading_and_their_angles_are_drawn(chromium, pages):
    from selenium.webdriver.support.ui import Select
    from selenium.webdriver.support.wait import WebDriverWait

    _open(chromium, pages["plain"])
    column = """const t = document.querySelector('#clouds table');
        const at = [...t.tHead.rows[0].cells].findIndex((c) => c.textContent.startsWith('effective rank'));
        return [...t.tBodies[0].rows].map((r) => r.cells[at].textContent)"""
    head = """[...document.querySelectorAll('#clouds thead th')].find((c) => c.textContent.startsWith('effective rank')).click()"""
    before = chromium.execute_script(column)
    chromium.execute_script(head)
    numbers = [float(v) for v in chromium.execute_script(column) if v]
    assert numbers == sorted(numbers, reverse=True) and "" in before, "one has no number, and stands last"
    assert chromium.execute_script(column)[-1] == ""
    drawn = "return document.querySelector('#chart-angles svg')?.textContent ?? ''"
    chromium.execute_script("document.querySelector('#diagnostics details').open = true")
    WebDriverWait(chromium, 20).until(lambda d: "independent directions" in d.execute_script(drawn))
    assert "independent directions" in chromium.execute_script(drawn)
    lines = "return document.querySelectorAll('#chart-angles svg .mark-line path').length"
    space = chromium.find_elements("css selector", "#chart-angles select")[1]
    Select(space).select_by_visible_text("hengyu-mini, mean")
    # before and after, each beside independent directions
    WebDriverWait(chromium, 20).until(lambda d: d.execute_script(lines) == 4)
    chromium.find_element("id", "language").click()
    assert chromium.find_element("id", "clouds-title").text == "向量几何"
    WebDriverWait(chromium, 20).until(lambda d: "独立方向" in d.execute_script(drawn))
    assert chromium.get_log("browser") == []


def test_hostile_names_are_text(chromium, pages):
    _open(chromium, pages["hostile"])
    shown = chromium.execute_script("return document.getElementById('board').textContent")
    for name in runs.HOSTILE:
        assert name in shown
    assert chromium.execute_script("return document.images.length") == 0
    assert "<script>alert(1)</script>, mean" in chromium.find_element("id", "chart-dimensions").text
    # an alert would make every command above fail
    assert chromium.execute_script("return document.querySelectorAll('script').length") == 7


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
    assert "Other metrics" in text and "Area under the ROC curve × 100" in text


def test_the_index_sorts_searches_and_speaks_chinese(chromium, pages):
    _open(chromium, pages["index"])
    names = "return [...document.querySelectorAll('#runs tbody th')].map((e) => e.textContent)"
    before = chromium.execute_script(names)
    assert len(before) == 2
    rows = "return [...document.querySelectorAll('#runs tbody td:last-child')].map((e) => +e.textContent)"
    head = "document.querySelector('#runs thead th:last-child').click()"
    chromium.execute_script(head)
    most = chromium.execute_script(rows)
    chromium.execute_script(head)
    assert most == sorted(most, reverse=True) and chromium.execute_script(rows) == sorted(most) and most[0] > most[1]
    search = chromium.find_element("id", "search")
    search.send_keys("alert(1)")
    assert len(chromium.execute_script(names)) == 1
    assert chromium.find_element("id", "count").text == "1 of 2 rows"
    search.clear()
    chromium.find_element("id", "language").click()
    assert chromium.find_element("tag name", "h1").text == "运行"
    assert chromium.get_log("browser") == []


def test_title_and_description_are_in_the_language_that_the_suite_has_them_in(chromium, pages) -> None:
    chromium.get(pages["charted"] + "#lang=zh")
    assert chromium.find_element("css selector", "h1").text == "两种方法"
    assert chromium.find_element("css selector", "h1 + p").text == "On A; <b>not</b> B."
    chromium.find_element("id", "language").click()
    assert chromium.find_element("css selector", "h1").text == "Two; methods"
