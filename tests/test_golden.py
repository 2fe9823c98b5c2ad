"""Golden pages: what a change of templates or words does to them stands in the diff of a review.

``make golden`` (pytest --golden) writes them anew; read the diff before committing.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import runs
from helpers.outlines import outline

from hengyu.report.page.index import listed, write_listing
from hengyu.report.page.leaderboard import render
from hengyu.storage.records import Run, load_run

FOLDER = Path(__file__).with_name("golden")
_TASKS = ("BQ:test", "STS-B:test")
_ROWS = ("raw", "abtt(top=1)", "whitening", "whitening(dim=32)")


def small(root: Path) -> Run:
    """Two tasks, one encoder, two poolings, four entries and a baseline, with a failed cell, from the made-up run."""
    run = runs.make_run(path=root)
    kept = tuple(
        r
        for r in run.records
        if r.task in (*_TASKS, "mean")
        and (r.encoder, r.pooling) in (("hengyu-mini", "mean"), ("hengyu-mini", "cls"), ("random", "-"))
        and (r.entry in _ROWS or (r.sweep and r.dim in (8, 16, 64)))
    )
    rows = {r.row for r in kept}
    header = {
        **run.header,
        "tasks": [t for t in run.header["tasks"] if t["task"] in _TASKS],
        "encoders": [e for e in run.header["encoders"] if e["encoder"] in ("hengyu-mini", "random")],
        "fits": [f for f in run.header["fits"] if f["task"] in _TASKS and f["encoder"] == "hengyu-mini"],
    }
    standings = tuple(s for s in run.standings if s.row in rows and s.task in (*_TASKS, "mean"))
    return load_run(runs.write_run(replace(run, records=kept, header=header, standings=standings), root))


@pytest.fixture
def pages(tmp_path: Path) -> dict[str, str]:
    run = small(tmp_path)
    line = replace(listed(run.path, tmp_path / "site"), date="2020-09-13 12:26", link=f"{run.id}/index.html")
    index = write_listing(
        [line, replace(line, id="broken-1", link="", value=None, problem="records.json: not JSON")], tmp_path
    )
    search = load_run(runs.write_run(runs.make_search(), tmp_path))
    return {
        "board": render(run, index="../index.html"),
        "search": render(search),
        "index": index.read_text(encoding="utf-8"),
    }


@pytest.mark.parametrize("name", ["board", "search", "index"])
def test_the_page_is_as_it_was_reviewed(pages: dict[str, str], name: str, request: pytest.FixtureRequest) -> None:
    found, path = outline(pages[name]), FOLDER / f"{name}.html"
    if request.config.getoption("--golden"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(found, encoding="utf-8")
    wanted = path.read_text(encoding="utf-8")
    change = list(
        difflib.unified_diff(wanted.splitlines(), found.splitlines(), str(path.name), "now", lineterm="", n=1)
    )
    assert not change, "the page has changed; 'make golden' renews it\n" + "\n".join(change[:60])


@pytest.mark.parametrize("name", ["board", "search", "index"])
def test_a_golden_page_is_short_and_names_no_machine(name: str) -> None:
    text = (FOLDER / f"{name}.html").read_text(encoding="utf-8")
    assert len(text.encode("utf-8")) < 100_000 and max(map(len, text.splitlines())) < 1500
    assert "<script" not in text and "/tmp/" not in text and str(Path.home()) not in text


def test_a_change_of_a_number_or_word_changes_one_line(pages: dict[str, str]) -> None:
    page = pages["board"]
    for old, new in (("Cite this</h2>", "Cite that</h2>"), ('<span class="value">', '<span class="value">9')):
        one, two = outline(page).splitlines(), outline(page.replace(old, new, 1)).splitlines()
        assert len(one) == len(two) and sum(a != b for a, b in zip(one, two, strict=True)) == 1
    assert outline(page.replace("window.", "self.")) == outline(page), "scripts are left out"
