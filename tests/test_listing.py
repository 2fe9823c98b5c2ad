"""The index over all runs: every run has a line, with its best row and why it cannot be read where it cannot."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner
from helpers import runs
from test_report import _in_chinese, _Page

from hengyu.base.errors import HengyuError
from hengyu.cli.commands.report import command
from hengyu.report.board.board import make_board
from hengyu.report.page.index import listed, trends, write_index
from hengyu.report.page.summaries import Listed
from hengyu.storage.records import list_runs

RUN = runs.make_run(sweep=False)
OTHER = replace(
    RUN, header={**RUN.header, "run": "another-1", "suite": {**RUN.header["suite"], "title": runs.HOSTILE[1]}}
)
ROW = re.compile(r"<tr>\n<th scope=\"row\".*?</tr>", re.S)


@pytest.fixture
def reports(tmp_path, monkeypatch):
    monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path))
    for age, run in enumerate((RUN, OTHER)):
        folder = runs.write_run(run, tmp_path)
        os.utime(folder / "records.json", (1.6e9 - age, 1.6e9 - age))
    return tmp_path


def _lines(page):
    return ROW.findall(page.read_text(encoding="utf-8"))


def test_every_run_has_a_line_with_its_first_row_and_the_newest_comes_first(reports):
    lines = [listed(folder, reports / "site") for folder in list_runs(reports)]
    first = make_board(RUN).rows[0]
    cell = first.cells[make_board(RUN).main]
    assert [line.id for line in lines] == [RUN.id, "another-1"]
    for line in lines:
        assert (line.value, line.interval, line.best, line.of) == (cell.value, cell.interval, first.key, "mean")
        assert line.tasks == tuple(runs.TASKS) and line.encoders == runs.ENCODERS
        assert line.date == "2020-09-13 12:26" and line.rows == len(make_board(RUN).rows)
    texts = _lines(write_index(reports))
    assert len(texts) == 2
    for text in texts:
        assert cell.text in text and cell.interval in text and first.entry in text and "2020-09-13" in text


def test_the_best_method_stands_apart_from_the_strongest_baseline(reports):
    (line, *_) = (listed(folder, reports / "site") for folder in list_runs(reports))
    baselines = [r for r in make_board(RUN).rows if r.baseline]
    main = make_board(RUN).main
    assert line.best[0] in runs.ENCODERS
    assert (line.baseline, line.baseline_value) == (baselines[0].encoder, baselines[0].cells[main].value)


def test_a_trend_is_of_runs_of_one_suite_and_the_same_tasks_in_the_order_of_their_dates():
    def line(name, date, value, **other):
        given = {"suite": "s", "tasks": ("A:test",), "of": "A:test", "metric": "Spearman", **other}
        return Listed(name, title="", date=date, value=value, **given)

    lines = [line(f"r{i}", f"2026-01-0{i}", 0.3 + 0.01 * i) for i in (3, 1, 2, 4)]
    lines += [line("other", "2026-01-02", 0.9, tasks=("B:test",)), line("none", "2026-01-03", None)]
    lines.append(line("broken", "2026-01-03", 0.1, problem="not JSON"))
    found = trends(lines)
    assert set(found) == {"r2", "r3", "r4"}, "the first of a series has nothing before it"
    assert found["r3"].before == "r2" and found["r3"].change == pytest.approx(0.01)
    assert found["r2"].path == (), "two points are no trend"
    xs, ys = zip(*found["r4"].path, strict=True)
    assert len(xs) == 4 and list(xs) == sorted(xs) and list(ys) == sorted(ys, reverse=True), (
        "higher scores are higher up"
    )


def test_a_run_links_to_its_page_where_it_has_one_and_names_the_command_where_not(reports):
    assert CliRunner().invoke(command, ["another-1"]).exit_code == 0
    without, linked = _lines(reports / "site" / "index.html")
    assert 'href="another-1/index.html"' in linked and "href" not in without
    assert f"<code>hengyu report <bdi>{RUN.id}</bdi></code>" in without


def test_a_damaged_run_is_listed_with_its_reason_and_hides_no_other(reports):
    (reports / "records" / "another-1" / "records.json").write_bytes(b"[")
    broken, whole = sorted(_lines(write_index(reports)), key=lambda text: "another-1" not in text)
    assert "cannot be read" in broken and "records.json" in broken and str(reports) not in broken
    assert "cannot be read" not in whole


def test_names_are_text_words_are_known_in_chinese_and_nothing_is_fetched(reports):
    page = _Page(write_index(reports).read_text(encoding="utf-8"))
    assert runs.HOSTILE[1] in page.text and not any(tag == "img" for tag, _ in page.tags)
    assert len(page.fixed) > 20 and [text for text in page.fixed if not _in_chinese(text)] == []
    assert "default-src 'none'" in page.meta("Content-Security-Policy")
    assert not [a for t, a in page.tags if t in ("link", "iframe") or "src" in a]


def test_a_run_is_read_once_and_again_when_it_has_changed(reports, monkeypatch):
    from hengyu.report.page import summaries

    read = []
    load = summaries.load_run
    monkeypatch.setattr(summaries, "load_run", lambda folder: read.append(folder.name) or load(folder))
    first = write_index(reports).read_bytes()
    assert sorted(read) == sorted([RUN.id, "another-1"])
    assert write_index(reports).read_bytes() == first and len(read) == 2
    kept = reports / "site" / "listing.json"
    os.utime(reports / "records" / RUN.id / "records.json", (1.7e9, 1.7e9))
    write_index(reports)
    assert read[2:] == [RUN.id]
    shutil.rmtree(reports / "records" / "another-1")
    write_index(reports)
    assert list(json.loads(kept.read_bytes())["runs"]) == [RUN.id]
    kept.unlink()
    assert RUN.id in write_index(reports).read_text(encoding="utf-8") and read[3:] == [RUN.id]


@pytest.mark.parametrize(
    "content", [b"[", b"{}", b'{"schema": 1, "runs": {"another-1": 3}}', b'{"schema": 9, "runs": {}}']
)
def test_summaries_that_cannot_be_read_count_as_none(reports, content):
    whole = write_index(reports).read_bytes()
    (reports / "site" / "listing.json").write_bytes(content)
    assert write_index(reports).read_bytes() == whole


@pytest.mark.parametrize(
    "change", [{"best": ["a"]}, {"rows": "x"}, {"id": "../elsewhere"}, {"tasks": 4}, {"value": "1"}]
)
def test_a_kept_line_of_another_shape_is_made_anew(reports, change):
    whole = write_index(reports).read_bytes()
    path = reports / "site" / "listing.json"
    content = json.loads(path.read_bytes())
    content["runs"][RUN.id]["line"] |= change
    path.write_text(json.dumps(content), encoding="utf-8")
    assert write_index(reports).read_bytes() == whole


def test_a_page_links_to_the_index_where_it_is_listed(reports, tmp_path):
    link = 'href="../index.html"'
    assert CliRunner().invoke(command, [RUN.id]).exit_code == 0
    page = reports / "site" / RUN.id / "index.html"
    assert link in page.read_text(encoding="utf-8") and (page.parent / "../index.html").is_file()
    assert CliRunner().invoke(command, [RUN.id, "another-1", "--out", str(tmp_path / "two")]).exit_code == 0
    assert link in (tmp_path / "two" / RUN.id / "index.html").read_text(encoding="utf-8")
    assert CliRunner().invoke(command, [RUN.id, "--out", str(tmp_path / "one")]).exit_code == 0
    assert link not in (tmp_path / "one" / "index.html").read_text(encoding="utf-8")


def test_no_run_is_no_error(tmp_path):
    assert "hengyu run smoke" in write_index(tmp_path).read_text(encoding="utf-8")


def test_several_runs_get_a_folder_each_and_an_index_of_just_these(reports, tmp_path):
    runs.write_run(replace(RUN, header={**RUN.header, "run": "third-1"}), reports)
    result = CliRunner().invoke(command, ["another-1", RUN.id, "another-1", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0
    pages = [tmp_path / "out" / name / "index.html" for name in ("another-1", RUN.id)]
    assert result.output.split() == [*map(str, pages), str(tmp_path / "out" / "index.html")]
    assert all(page.is_file() for page in pages)
    lines = _lines(tmp_path / "out" / "index.html")
    assert [re.findall('href="([^"]*)"', line) for line in lines] == [
        ["another-1/index.html"],
        [f"{RUN.id}/index.html"],
    ]


def test_one_run_with_out_is_the_page_itself(reports, tmp_path):
    assert CliRunner().invoke(command, [RUN.id, "--out", str(tmp_path / "out")]).exit_code == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["index.html"]


def test_two_runs_of_one_name_are_refused(reports, tmp_path):
    copy = runs.write_run(RUN, tmp_path / "elsewhere")
    result = CliRunner().invoke(command, [RUN.id, str(copy)])
    assert isinstance(result.exception, HengyuError)
    assert "have the same name" in str(result.exception) and "--out" in str(result.exception)
