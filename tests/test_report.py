"""The page: one file that holds every number, escapes every name and fetches nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner
from helpers import runs
from helpers.page_words import without_origin

from hengyu.base.paths import share
from hengyu.cli.commands.report import command
from hengyu.report.board.board import make_board
from hengyu.report.board.cell import HEATS
from hengyu.report.charts.dimensions import chart, collect
from hengyu.report.page.leaderboard import render, write_report
from hengyu.report.page.provenance import command_of, sheets

RUN = runs.make_run()
HOSTILE = runs.make_run(hostile=True)
VOID = {"meta", "link", "br", "img", "input", "hr"}


class _Page(HTMLParser):
    """Collects elements, visible text, fixed words and scripts, and checks that elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self.fixed: list[str] = []  # texts and attributes that the page says in either language
        self.open: list[tuple[int, str]] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag not in VOID:
            self.stack.append(tag)
        given = dict(attrs)
        self.fixed += [given[name] for name in given.get("data-ta", "").split()]
        if "data-t" in given:
            self.open.append((len(self.stack), ""))

    def handle_endtag(self, tag):
        if self.open and self.open[-1][0] == len(self.stack):
            self.fixed.append(self.open.pop()[1])
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif "style" not in self.stack:
            self.text += data
        if self.open:
            self.open[-1] = (self.open[-1][0], self.open[-1][1] + data)

    def meta(self, name):
        return next(a["content"] for t, a in self.tags if t == "meta" and name in (a.get("http-equiv"), a.get("name")))


def test_the_page_holds_every_number_of_the_board():
    page = _Page(render(RUN))
    board = make_board(RUN)
    titles = {a.get("title") for t, a in page.tags if t == "td"}
    for row in board.rows:
        for column, cell in zip(board.columns, row.cells, strict=True):
            assert cell.text in page.text
            if cell.value is not None:
                assert cell.interval in page.text
                assert any(
                    t and t.startswith(f"{column.task}: Spearman {cell.text}; 95 % confidence interval") for t in titles
                )
    for note in board.notes:
        assert note in page.text


def test_the_page_is_one_small_file_that_names_no_other(tmp_path):
    path = write_report(RUN, tmp_path / "site")
    assert [p.name for p in path.parent.iterdir()] == ["index.html"]
    assert path.stat().st_size < 3_000_000
    page = _Page(path.read_text(encoding="utf-8"))
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img"), tag
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)


def test_the_policy_allows_just_the_scripts_of_the_page():
    page = _Page(render(RUN))
    policy = page.meta("Content-Security-Policy")
    run = [code for attributes, code in page.scripts if attributes.get("type") != "application/json"]
    hashes = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in run]
    assert re.findall(r"'sha256-([^']+)'", policy) == hashes
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]


def test_hostile_names_are_text():
    page = _Page(render(HOSTILE))
    for name in runs.HOSTILE:
        assert name in page.text
    assert not any(t == "img" for t, _ in page.tags)
    data = [json.loads(code) for a, code in page.scripts if a.get("type") == "application/json"]
    (groups,) = (d["groups"] for d in data if "groups" in d)
    assert {g["same"]["encoder"] for g in groups} == set(runs.HOSTILE[:2])
    assert len([t for t, _ in page.tags if t == "script"]) == len(page.scripts) == 6


def _in_chinese(text: str) -> bool:
    """Whether the table of words knows a text, as language.js looks it up."""
    table = json.loads(share("reports", "templates", "words.json").read_text(encoding="utf-8"))
    patterns = [re.compile(found) for found, _ in table["patterns"]]

    def known(part: str) -> bool:
        return part in table["words"] or any(p.fullmatch(part) for p in patterns)

    return known(text) or all(map(known, text.split("; ")))


@pytest.mark.parametrize("run", [RUN, HOSTILE])
def test_every_fixed_word_is_known_in_chinese(run):
    page = _Page(render(run))
    assert len(page.fixed) > 100
    assert [text for text in dict.fromkeys(page.fixed) if not _in_chinese(text)] == []
    cells = [a["title"] for t, a in page.tags if t == "td" and "title" in a]
    assert all(_in_chinese(title) for title in cells if "; " in title)


def test_no_word_is_translated_that_nothing_says():
    table = json.loads(share("reports", "templates", "words.json").read_text(encoding="utf-8"))
    assert without_origin(["no page says this", *table["words"]]) == ["no page says this"]


def test_names_from_outside_are_never_translated():
    assert not set(_Page(render(HOSTILE)).fixed) & {*runs.HOSTILE, *runs.ENTRIES, *runs.TASKS}


def test_small_print_stays_readable_on_every_shade():
    style = share("reports", "templates", "leaderboard.css").read_text(encoding="utf-8")
    schemes = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", part)) for part in style.split("prefers-color-scheme: dark")
    ]
    assert len(schemes) == 2 and set(schemes[0]) == set(schemes[1])
    for dark, named in enumerate(schemes):
        shades = [named[f"h{i}"] for i in range(HEATS)]
        lights = [_light(s) for s in shades]
        assert lights == sorted(lights, reverse=not dark), "one hue by steps, farther from the page for higher numbers"
        for text in ("ink", "small", "up", "down"):
            for shade in (
                *shades,
                *(named[f"{way}{i}"] for way in ("gain", "loss") for i in (1, 2, 3)),
                named["paper"],
            ):
                assert _contrast(shade, named[text]) >= 4.5, (dark, text, shade)
        for text in ("quiet", "link"):
            for ground in ("paper", "soft", "base", "warn"):
                assert _contrast(named[ground], named[text]) >= 4.5, (dark, text, ground)


def _contrast(one: str, two: str) -> float:
    dark, light = sorted((_light(one), _light(two)))
    return (light + 0.05) / (dark + 0.05)


def _light(colour: str) -> float:
    """Relative luminance, WCAG 2.1."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_chinese_names_say_their_language():
    text = render(RUN)
    assert '<html lang="en">' in text
    assert '<bdi lang="zh-Hans">示例编码器-base</bdi>' in text


def test_headings_explain_themselves():
    page = _Page(render(RUN))
    abouts = [a["title"] for t, a in page.tags if t == "abbr"]
    assert all(abouts)
    assert any("20,000 pairs" in a and "at most 66.50" in a for a in abouts)


def test_provenance_shows_what_the_header_holds(tmp_path):
    shown = " ".join(" ".join(row) for sheet in sheets(RUN) for row in sheet.rows)
    words = ("42", "1000", "0123456789abcdef" * 4, "1.23 %", "未声明", "ab" * 32, "41.25", "81234.5", "2.4.6", "86.60")
    for word in (RUN.id, *words):
        assert word in shown
    assert command_of(RUN) == "hengyu run synthetic"
    assert command_of(replace(RUN, environment={})) == "hengyu run synthetic"


def test_a_bare_run_still_has_a_page():
    page = _Page(render(replace(RUN, header={"run": "bare"}, environment={}, records=())))
    assert "nothing was evaluated" in page.text


def test_curves_join_the_sweep_and_the_rows_of_the_board():
    series = collect(RUN)
    whitening = next(
        s for s in series if s.task == "BQ:test" and s.method == "whitening, fit_on target" and s.pooling == "mean"
    )
    assert [p.dim for p in whitening.points] == list(range(1, 129))
    assert {p.dim for p in whitening.points if p.marked} == {1, 2, 4, 8, 16, 32, 64, 128}
    assert {s.method for s in series} == {"raw", "whitening, fit_on target", "pca, fit_on target"}
    picture = chart(series)
    ranges = [layer["encoding"] for layer in picture["layer"]]
    assert {"shape", "color"} <= set(ranges[2]) and "strokeDash" in ranges[1]


def test_long_sweeps_are_thinned_but_keep_their_markers():
    first = next(r for r in RUN.records if r.sweep)
    run = replace(RUN, records=tuple(replace(first, dim=d, entry=f"whitening(dim={d})") for d in range(1, 1025)))
    (series,) = collect(run)
    assert len(series.points) < 200
    assert {2**k for k in range(11)} == {p.dim for p in series.points if p.marked}


def test_no_dims_no_chart():
    kept = tuple(r for r in RUN.records if not r.sweep and "dim=" not in r.entry)
    text = render(replace(RUN, records=kept))
    assert "vegaEmbed" not in text
    assert 'class="chart"' not in text
    assert len(text) < 1_200_000


def test_the_command_writes_to_the_site(tmp_path, monkeypatch):
    monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path))
    runs.write_run(RUN, tmp_path)
    result = CliRunner().invoke(command, ["latest"])
    assert result.exit_code == 0
    page = tmp_path / "site" / RUN.id / "index.html"
    assert result.output.strip() == str(page)
    assert "encode | hengyu-mini" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    [
        "address.js",
        "language.js",
        "scrolling.js",
        "sorting.js",
        "sheets.js",
        "facets.js",
        "pinning.js",
        "leaderboard.js",
        "boardview.js",
        "searchview.js",
        "paste.js",
        "start.js",
        "chart.js",
    ],
)
def test_scripts_never_write_markup(name):
    code = share("reports", "templates", name).read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", code)
