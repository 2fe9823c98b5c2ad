"""The exports hold every record, whatever the names are."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from dataclasses import replace

import pandas as pd
import pytest
from click.testing import CliRunner
from helpers import forked, runs

from hengyu.base.errors import HengyuError
from hengyu.cli.commands.export import command
from hengyu.report.board.board import make_board
from hengyu.report.exports.grid import board_grid
from hengyu.report.exports.table import COLUMNS, excel, export, export_latex, tidied

RUN = runs.make_run()
HOSTILE = runs.make_run(hostile=True, sweep=False)


def test_csv_holds_every_record_and_its_numbers_exactly():
    rows = list(csv.DictReader(io.StringIO(export(RUN, "csv"))))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(RUN.records)
    for row, record in zip(rows, RUN.records, strict=True):
        assert (float(row["value"]) if row["value"] else None) == record.value
        assert row["encoder"] == record.encoder
        assert row["sweep"] == str(record.sweep).lower()


def test_task_and_split_stand_apart_and_name_one_record():
    table = pd.read_csv(io.StringIO(export(RUN, "csv")), keep_default_na=False)
    assert set(table["task"]) == {"ATEC", "BQ", "LCQMC", "PAWSX", "STS-B", "mean", "w-mean"}
    assert set(table["split"]) == {"test", ""}
    key = ["task", "split", "encoder", "pooling", "entry", "fit_on", "metric", "sweep"]
    assert not table.duplicated(key).any()


def test_json_is_the_same_rows():
    rows = json.loads(export(RUN, "json"))
    assert [tuple(r) for r in rows] == [COLUMNS] * len(RUN.records)
    assert rows[0]["value"] == RUN.records[0].value
    assert rows[0]["sweep"] is False
    assert {r["value"] for r in rows if r["status"] != "ok"} == {None}


def test_rows_carry_their_standing_and_nothing_else_does():
    rows = json.loads(export(RUN, "json"))
    stands = {(s.task, s.row): s for s in RUN.standings}
    ranks = {row.key: row.rank for row in make_board(RUN).rows if row.rank}
    seen = 0
    for row, record in zip(rows, RUN.records, strict=True):
        stand = stands.get((record.task, record.row)) if record.metric == "spearman" and record.on_board else None
        wanted = (stand.tied, stand.rank_low, stand.rank_high) if stand else (None, None, None)
        assert (row["tied"], row["rank_low"], row["rank_high"]) == wanted
        assert (row["rank"] is None) == (stand is None)
        if stand and record.task == "mean":
            assert row["rank"] == ranks[record.row]
            seen += 1
    assert seen == len(ranks) > 1
    table = list(csv.DictReader(io.StringIO(export(RUN, "csv"))))
    assert {r["tied"] for r in table} == {"true", "false", ""}
    assert [r["rank"] for r in table] == ["" if r["rank"] is None else str(r["rank"]) for r in rows]


def test_equal_numbers_share_the_better_rank():
    stands = [replace(s, behind=0.0) if s.task == "mean" and s.rank_low == 1 else s for s in RUN.standings]
    run = replace(RUN, standings=tuple(stands))
    ranks = sorted(r["rank"] for r in tidied(run) if r["task"] == "mean" and r["rank"] is not None)
    level = sum(s.task == "mean" and s.behind == 0 for s in stands)
    assert level > 1 and ranks.count(1) == level
    assert all(rank == 1 + sum(other < rank for other in ranks) for rank in ranks)


def test_hostile_names_come_back_from_csv_and_json_as_they_were():
    names = {r.encoder for r in HOSTILE.records}
    assert {r["encoder"] for r in csv.DictReader(io.StringIO(export(HOSTILE, "csv")))} == names
    assert {r["encoder"] for r in json.loads(export(HOSTILE, "json"))} == names


@pytest.mark.parametrize("run", [RUN, HOSTILE])
def test_markdown_is_one_table_with_equal_rows(run):
    text = export(run, "md")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(make_board(run).rows)
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "**" in lines[2] and "[" in lines[2]
    assert "<script" not in text.replace(r"\<script", "")


@pytest.mark.parametrize("run", [RUN, HOSTILE])
def test_latex_rows_are_equal_and_special_characters_escaped(run):
    text = export(run, "latex")
    body = text[text.index("\\toprule") : text.index("\\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith("\\\\") and "multicolumn" not in line]
    width = len(make_board(run).columns) + 3
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {width - 1}
    assert len(rows) == len(make_board(run).rows) + 3
    assert body.count("\\multicolumn") == 3, "two encoders, and the baselines last"
    assert body.rindex("\\multicolumn") == body.index("\\multicolumn{10}{l}{\\textit{baselines}}")
    for needed in (
        "\\textbf{",
        "\\underline{",
        "\\dagger",
        "\\ddagger",
        "\\caption{",
        "\\label{tab:",
        "\\scriptsize [",
    ):
        assert needed in text
    marks = re.compile(r"\$\^\\d?dagger\$|\$\^\\ddagger\$")
    assert not re.search(r"(?<!\\)[#$%_^~<>|]", marks.sub("", body))


def test_the_best_and_second_best_are_those_of_the_numbers_as_printed():
    grid = board_grid(make_board(RUN), "raw")
    for i in range(len(grid.columns)):
        cells = [line.cells[i] for line in grid.lines if line.cells[i].value is not None]
        order = sorted({float(c.text) for c in cells}, reverse=True)
        assert {float(c.text) for c in cells if c.place == 1} == {order[0]}
        assert {float(c.text) for c in cells if c.place == 2} == {order[1]}
    assert grid.names == ("method", "pooling", "fit_on") and grid.columns[:2] == ("ATEC", "BQ")
    one = replace(
        RUN, records=tuple(r for r in RUN.records if r.pooling in ("mean", "-") and r.encoder != runs.ENCODERS[1])
    )
    assert board_grid(make_board(one), "raw").names == ("method", "fit_on"), "what all rows share is no column"


def test_uncertainty_is_an_interval_or_half_of_it_or_left_out():
    assert "{\\scriptsize [73.48, 75.08]}" in export_latex(RUN)
    pm = export_latex(RUN, "pm")
    assert "{\\scriptsize $\\pm$0.80}" in pm and "scriptsize [" not in pm and "half the width" in pm
    assert "scriptsize" not in export_latex(RUN, "none")


def test_excel_opens_chinese_names_and_takes_no_name_for_a_formula():
    content = excel(export(HOSTILE, "csv"))
    assert content.startswith(b"\xef\xbb\xbf") and b"\r\n" in content
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    plain = list(csv.DictReader(io.StringIO(export(HOSTILE, "csv"))))
    assert len(rows) == len(plain) and "'" + runs.HOSTILE[2] in {r["entry"] for r in rows}
    assert [r["value"] for r in rows] == [r["value"] for r in plain], "numbers stay numbers, negative ones too"
    assert {r["pooling"] for r in rows} == {r["pooling"] for r in plain}


def test_formats_have_other_names_and_options_fit_their_format(tmp_path):
    folder = str(runs.write_run(RUN, tmp_path))
    for one, other in (("md", "markdown"), ("latex", "tex")):
        texts = [CliRunner().invoke(command, [folder, "--format", name]).stdout for name in (one, other)]
        assert texts[0] == texts[1] and texts[0]
    assert CliRunner().invoke(command, [folder, "--excel"]).stdout_bytes.startswith(b"\xef\xbb\xbf")
    for wrong in (["--excel", "--format", "md"], ["--uncertainty", "pm"]):
        assert CliRunner().invoke(command, [folder, *wrong]).exit_code == 2


def test_an_unknown_format_is_told_with_the_known_ones():
    with pytest.raises(HengyuError, match="did you mean 'csv'"):
        export(RUN, "cvs")


def test_the_command_prints_or_writes_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path))
    folder = runs.write_run(RUN, tmp_path)
    printed = CliRunner().invoke(command, [str(folder)])
    assert printed.exit_code == 0
    assert len(list(csv.reader(io.StringIO(printed.stdout)))) == 1 + len(RUN.records)
    written = CliRunner().invoke(command, ["latest", "--format", "json", "--out", str(tmp_path / "x" / "run.json")])
    assert written.exit_code == 0
    assert len(json.loads((tmp_path / "x" / "run.json").read_bytes())) == len(RUN.records)


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    folder = runs.write_run(RUN, tmp_path)
    process = forked.Process(["export", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.wait()
