"""Two sides held against each other: the same pairs, the same resamples, and never unlike protocols."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import observed
from rich.console import Console

from hengyu.base.errors import HengyuError
from hengyu.cli import main
from hengyu.evaluation.comparison import compare
from hengyu.numerics.metrics import spearman
from hengyu.numerics.resampling import Resamples, difference
from hengyu.report.comparison.text import print_comparison, write_comparison

TASKS = {"A:test": 400, "B:test": 300}


def sides(root, *, name="first", shift=0, **more):
    """A run of an encoder under two poolings: raw, whitening (better), and a flow of two seeds."""
    rng = np.random.default_rng(5)
    labels = {t: (rng.random(n) < 0.4).astype(float) for t, n in TASKS.items()}
    own = np.random.default_rng(9 + shift)
    seen = {}
    for pooling in ("mean", "cls"):
        for entry, fit_on, noise, seeds in (
            ("raw", "none", 2.0, 1),
            ("whitening", "target", 0.7, 1),
            ("flow", "target", 0.8, 2),
        ):
            shape = lambda y: (seeds, len(y)) if seeds > 1 else (len(y),)  # noqa: E731, B023
            seen["m", pooling, entry, fit_on] = {t: y + noise * own.normal(size=shape(y)) for t, y in labels.items()}
    return observed.write(root, name, labels, seen, **more), labels, seen


def test_two_entries_are_paired_under_the_boards_resamples(tmp_path):
    run, labels, seen = sides(tmp_path)
    found = compare(run, chosen={"entry": ["whitening", "raw"], "pooling": ["mean"]})
    assert found.sides == ("whitening", "raw")
    assert [line.first.task for line in found.lines] == ["A:test", "B:test", "mean"]
    means = []
    for line in found.lines[:2]:
        task = line.first.task
        one, two = seen["m", "mean", "whitening", "target"][task], seen["m", "mean", "raw", "none"][task]
        y = labels[task]
        assert line.difference == pytest.approx(spearman(one, y) - spearman(two, y))
        drawn = Resamples(y, observed.RESAMPLES, seed=3, key=task).run([one, two])["spearman"]
        assert (line.low, line.high) == pytest.approx(difference(*drawn))
        assert line.test == "paired" and line.verdict == "better" and line.p < 0.05
        means.append(line.difference)
    assert found.lines[2].difference == pytest.approx(np.mean(means))
    assert found.lines[2].n == 700
    assert found.lines[2].low > 0


def test_the_other_way_round_is_the_negative(tmp_path):
    run, *_ = sides(tmp_path)
    there = compare(run, chosen={"pooling": ["mean", "cls"]})
    back = compare(run, chosen={"pooling": ["cls", "mean"]})
    assert len(there.lines) == len(back.lines) == 9
    for one, two in zip(there.lines, back.lines, strict=True):
        assert (one.difference, one.low, one.high) == pytest.approx((-two.difference, -two.high, -two.low))
        assert one.p == pytest.approx(two.p)


def test_a_run_against_itself_differs_nowhere(tmp_path):
    run, *_ = sides(tmp_path)
    found = compare(run, run)
    assert {(line.difference, line.low, line.high, line.p, line.verdict) for line in found.lines} == {
        (0.0, 0.0, 0.0, 1.0, "not significant")
    }
    assert len(found.lines) == 6 * 3, "rows of several seeds too"


def test_two_runs_are_paired_row_by_row_and_say_what_their_encoders_differ_in(tmp_path):
    first, *_ = sides(tmp_path)
    second, *_ = sides(tmp_path, name="second", shift=1)
    found = compare(first, second)
    assert found.sides == ("first", "second")
    assert {line.test for line in found.lines} == {"paired"}
    assert found.notes == ("encoder m differs between the runs in: fingerprint",)
    assert {line.verdict for line in found.lines if line.first.entry == "whitening"} == {"not significant"}


def test_without_observations_the_stored_intervals_compare_and_the_notes_say_so(tmp_path):
    run, *_ = sides(tmp_path, keep=False)
    found = compare(run, chosen={"entry": ["whitening", "raw"]})
    assert {line.test for line in found.lines} == {"stored"}
    assert any("keeps no labels" in note for note in found.notes)
    paired = compare(sides(tmp_path, name="kept")[0], chosen={"entry": ["whitening", "raw"]})
    width = {(line.first.task, line.first.pooling): line.high - line.low for line in paired.lines}
    assert all(line.difference == pytest.approx(line.values[0] - line.values[1]) for line in found.lines)
    assert all((line.first.task, line.first.pooling) in width for line in found.lines)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h: h | {"protocol": 2}, "protocol is 2 where"),
        (lambda h: h | {"suite": {**h["suite"], "aggregate": "w-avg"}}, "suite.aggregate is 'w-avg' where"),
        (
            lambda h: h | {"tasks": [{**t, "sha256": "other"} for t in h["tasks"]]},
            r"tasks\[A:test\].sha256 is 'other' where",
        ),
        (lambda h: h | {"tasks": [{**t, "card_sha256": "x"} for t in h["tasks"]]}, "card_sha256"),
        (
            lambda h: h | {"fits": [{"task": "A:test", "fit_on": "all", "fit_splits": ["A:test"]}]},
            "fit_splits of A:test",
        ),
    ],
)
def test_unlike_protocols_are_refused_with_the_field(tmp_path, change, words):
    first, *_ = sides(tmp_path)
    first = replace(
        first,
        header={**first.header, "fits": [{"task": "A:test", "fit_on": "all", "fit_splits": ["A:train", "A:test"]}]},
    )
    with pytest.raises(HengyuError, match=words):
        compare(first, replace(first, header=change(first.header)))


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({}, "compared along one axis"),
        ({"entry": ["raw", "whitening"], "pooling": ["mean", "cls"]}, "compared along one axis"),
        ({"entry": ["raw", "whitening", "flow"]}, "3 names are given"),
        ({"entry": ["raw", "whitenning"]}, "did you mean 'whitening'"),
        ({"pooling": ["mean", "cls"], "encoder": ["n"]}, "no row has the encoder 'n'"),
        ({"pooling": ["mean", "cls"], "task": ["C:test"]}, "no row has the task 'C:test'"),
        ({"fit_on": ["target", "none"]}, "the two sides share no row"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(tmp_path, chosen, words):
    run, *_ = sides(tmp_path)
    with pytest.raises(HengyuError, match=words):
        compare(run, chosen=chosen)


def test_runs_without_a_task_in_common(tmp_path):
    first, *_ = sides(tmp_path)
    other = {**first.header, "tasks": [{**t, "task": "X" + t["task"]} for t in first.header["tasks"]]}
    with pytest.raises(HengyuError, match="has no task of"):
        compare(first, replace(first, header=other))


def test_a_pipe_gets_whole_lines_and_the_page_the_same_numbers(tmp_path):
    run, *_ = sides(tmp_path)
    found = compare(run, chosen={"entry": ["whitening", "raw"]})
    out = io.StringIO()
    print_comparison(found, Console(file=out, width=40))
    text = out.getvalue()
    page = write_comparison(found, tmp_path / "page").read_text(encoding="utf-8")
    for line in found.lines:
        told = next(
            t for t in text.splitlines() if t.split()[:1] == [line.first.task] and f"{100 * line.difference:+.2f}" in t
        )
        assert line.verdict in told and line.first.pooling in told
        assert f"{100 * line.difference:+.2f}" in page
    assert "pair by pair, under the same 400 resamples" in text
    data = [json.loads(c) for c in re.findall(r'<script type="application/json">(.*?)</script>', page, re.S)]
    assert [g["same"]["value"] for g in data[0]["groups"]] == [
        pytest.approx(100 * line.difference, abs=0.006) for line in found.lines
    ]
    assert "default-src 'none'" in html.unescape(page) and "unsafe-eval" not in page


def test_a_comparison_is_a_table_of_a_paper_of_markdown_and_of_csv(tmp_path, monkeypatch):
    monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path))
    run, *_ = sides(tmp_path)
    found = compare(run, chosen={"entry": ["whitening", "raw"]})
    asked = ["compare", run.id, "--entry", "whitening", "--entry", "raw", "--format"]
    text = CliRunner().invoke(main, [*asked, "latex"]).stdout
    assert text == CliRunner().invoke(main, [*asked, "tex"]).stdout
    body = text[text.index("\\midrule") : text.index("\\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith("\\\\")]
    assert len(rows) == len(found.lines) and "\\caption{" in text and "\\label{tab:whitening-minus-raw}" in text
    marks = [("$^\\dagger$" in row) - ("$^\\ddagger$" in row) for row in rows]
    assert marks == [{"better": 1, "worse": -1}.get(line.verdict, 0) for line in found.lines]
    table = CliRunner().invoke(main, [*asked, "markdown"]).stdout.splitlines()
    assert sum(line.startswith("|") for line in table) == len(found.lines) + 2
    numbers = list(csv.DictReader(io.StringIO(CliRunner().invoke(main, [*asked, "csv"]).stdout)))
    assert [float(r["difference"]) for r in numbers] == [line.difference for line in found.lines]
    assert [r["verdict"] for r in numbers] == [line.verdict for line in found.lines]


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path))
    sides(tmp_path)
    sides(tmp_path, name="second", shift=1)
    done = CliRunner().invoke(main, ["compare", "first", "second", "--entry", "raw", "--out", str(tmp_path / "page")])
    assert done.exit_code == 0, done.output
    assert "first minus second" in done.output and (tmp_path / "page" / "index.html").is_file()
    missing = CliRunner().invoke(main, ["compare", "first"])
    assert missing.exit_code == 2 and "error: first: one run is compared" in missing.output
    assert "Traceback" not in missing.output


def test_a_baseline_is_compared_with_every_row_of_an_encoder(tmp_path):
    rng = np.random.default_rng(3)
    labels = {"A:test": (rng.random(200) < 0.4).astype(float)}
    y = labels["A:test"]
    rows = [("m", "mean", "raw", "none"), ("m", "mean", "whitening", "target"), ("tfidf", "-", "raw", "target")]
    seen = {
        row: {"A:test": y + noise * rng.normal(size=len(y))} for row, noise in zip(rows, (0.7, 0.9, 2.0), strict=True)
    }
    run = observed.write(tmp_path, "with-baseline", labels, seen)

    found = compare(run, chosen={"encoder": ["m", "tfidf"]})
    assert found.sides == ("m", "tfidf")
    assert [(line.first.entry, line.second.encoder) for line in found.lines] == [
        ("raw", "tfidf"),
        ("whitening", "tfidf"),
    ]
    scores = [spearman(seen[row]["A:test"], y) for row in rows]
    drawn = Resamples(y, observed.RESAMPLES, seed=3, key="A:test").run(
        [seen[rows[0]]["A:test"], seen[rows[2]]["A:test"]]
    )
    assert found.lines[0].difference == pytest.approx(scores[0] - scores[2])
    assert (found.lines[0].low, found.lines[0].high) == pytest.approx(difference(*drawn["spearman"]))

    turned = compare(run, chosen={"encoder": ["tfidf", "m"], "entry": ["whitening"], "pooling": ["mean"]})
    assert [line.difference for line in turned.lines] == pytest.approx([scores[2] - scores[1]])
