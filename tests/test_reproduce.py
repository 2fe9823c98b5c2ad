"""The command beside a row makes that row again, as the command line takes it."""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import runs
from helpers.words import sentences

from hengyu.cli import main
from hengyu.report.page.leaderboard import render
from hengyu.report.page.reproduce import command_of_row, reproduce_sheet
from hengyu.storage.records import find_run, load_run

SUITE = """
tasks = ["toy:test"]
encoders = ["hengyu-mini", { model = "MODEL", max_length = 16 }]
poolings = ["mean", "cls"]
baselines = ["tfidf"]
resamples = 50
entries = [{ entry = "whitening", dims = [4, 8] }, { entry = "pca(dim=8)", fit_on = "valid" }, { entry = "jl(dim=8)", seeds = 2 }]
"""


@pytest.fixture
def toy(tmp_path, tiny_bert, monkeypatch):
    rng = np.random.default_rng(3)
    for split in ("test", "valid"):
        lines = "".join(f"{a}\t{b}\t{y}\n" for a, b, y in sentences(rng, 40))
        (tmp_path / f"{split}.tsv").write_text("sentence1\tsentence2\tlabel\n" + lines, encoding="utf-8")
    splits = "".join(f'[splits.{s}]\nfile = "{s}.tsv"\n' for s in ("test", "valid"))
    (tmp_path / "toy.toml").write_text(f'name = "toy"\nlabels = {{ scale = [0, 5] }}\n{splits}', encoding="utf-8")
    (tmp_path / "suites").mkdir()
    shutil.copytree(tiny_bert, tmp_path / "model")
    suite = SUITE.replace("MODEL", str(tmp_path / "model"))
    (tmp_path / "suites" / "small.toml").write_text(suite, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _type(monkeypatch, words):
    monkeypatch.setattr(sys, "argv", words)
    done = CliRunner().invoke(main, words[1:])
    assert done.exit_code == 0, done.output
    return load_run(find_run("latest"))


def test_a_row_made_again_has_the_same_number_and_interval(toy, monkeypatch):
    words = ["hengyu", "run", "suites/small.toml", "--datasets", ".", "--quiet"]
    first = _type(monkeypatch, words)
    rows = {r.row: r for r in first.records if r.metric == "spearman" and r.on_board}
    asked = [("model", "cls", "whitening(dim=4)", "target"), ("hengyu-mini", "mean", "pca(dim=8)", "valid")]
    asked += [("model", "cls", "jl(dim=8)", "none"), ("tfidf", "-", "raw", "target")]
    assert set(asked) <= set(rows)
    narrowed = command_of_row(first)
    for key in asked:
        command = shlex.split(narrowed(key))
        again = _type(monkeypatch, command)
        found = {r.row: r for r in again.records if r.metric == "spearman" and r.on_board}
        assert found[key].value == pytest.approx(rows[key].value, abs=1e-9), command
        assert found[key].low == pytest.approx(rows[key].low, abs=1e-9), command
        assert len(found) < len(rows)
    assert "--encoder" not in narrowed(next(k for k in rows if k[0] == "model")), "its max_length would be lost"


def test_the_runs_own_options_stay_and_what_it_narrows_is_replaced(tmp_path):
    command = "hengyu run zh --data=D --encoder a/b --encoder c --entry flow --fit-on=train --task X:test --fresh"
    run = replace(runs.make_run(sweep=False), path=tmp_path, environment={"command": command})
    said = command_of_row(run)((runs.ENCODERS[0], "cls", "whitening(dim=32)", "target"))
    wanted = "hengyu run zh --data=D --task X:test --encoder a/b --encoder c --pooling cls"
    assert said == f"{wanted} --entry 'whitening(dim=32)' --fit-on target"


def test_rows_of_others_have_no_command_and_names_cannot_leave_their_word():
    run = runs.make_run(hostile=True, sweep=False)
    header = {**run.header, "encoders": [{**e, "kind": "reference"} for e in run.header["encoders"]]}
    assert reproduce_sheet(replace(run, header=header)).rows == ()
    for *_, command in reproduce_sheet(run).rows:
        assert shlex.split(command)[:3] == ["hengyu", "run", "synthetic"]
    page = render(run)
    assert page.count('title="hengyu run synthetic') == len(reproduce_sheet(run).rows)


def test_an_unknown_pooling_is_one_sentence():
    done = CliRunner().invoke(main, ["run", "smoke", "--pooling", "maen"])
    assert done.exit_code == 2 and "did you mean 'mean'" in done.stderr
