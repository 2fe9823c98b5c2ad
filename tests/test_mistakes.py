"""Errors people can read: the pairs that are most wrong, from the data the run was weighed on, only when asked for."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import observed

from hengyu.base.errors import HengyuError
from hengyu.cli import main
from hengyu.report.page.leaderboard import render
from hengyu.report.page.worst_pairs import mistakes, most
from hengyu.storage.records import write_json

CARD = """
name = "mine"
columns = { sentence1 = "a", sentence2 = "b", label = "same" }
labels = { scale = [0, 5], kind = "graded" }
[splits.test]
file = "mine.tsv"
"""
SENTENCES = [(f"句子{i}", f"<b>other</b> {i} \u202e𠮷") for i in range(8)]
LABELS = np.array([0.0, 1, 2, 3, 4, 5, 2.5, 1.5])


@pytest.fixture
def run(tmp_path):
    """A run whose raw has pairs 0 and 5 the wrong way round, and whose whitening mends them."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "mine.toml").write_text(CARD, encoding="utf-8")
    lines = ["a\tb\tsame", *(f"{a}\t{b}\t{y:g}" for (a, b), y in zip(SENTENCES, LABELS, strict=True))]
    (data / "mine.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    wrong = LABELS / 5
    wrong[[0, 5]] = wrong[[5, 0]]
    seen = {
        ("m", "mean", "raw", "none"): {"mine:test": wrong},
        ("m", "mean", "whitening", "target"): {"mine:test": LABELS / 6},
    }
    made = observed.write(tmp_path, "made", {"mine:test": LABELS}, seen)
    digest = hashlib.sha256((data / "mine.tsv").read_bytes()).hexdigest()
    header = {**made.header, "tasks": [{**made.header["tasks"][0], "sha256": digest}]}
    write_json(made.path / "run.json", header)
    return replace(made, header=header), data


def test_the_worst_pairs_stand_first_with_their_sentences_and_ranks(run):
    made, data = run
    (task,) = mistakes(made, 2, datasets=[data])
    sheets = dict(task.sheets)
    raw = next(s for name, s in sheets.items() if name.startswith("raw ("))
    assert [row[:3] for row in raw.rows] == [(*SENTENCES[0], "0"), (*SENTENCES[5], "5")]
    assert [row[4:] for row in raw.rows] == [("0", "100", "+100"), ("100", "0", "-100")]
    white = next(s for name, s in sheets.items() if name.startswith("whitening ("))
    assert {row[-1] for row in white.rows} == {"+0"}


def test_the_pairs_that_the_best_entry_moved(run):
    made, data = run
    (task,) = mistakes(made, 2, datasets=[data])
    name, moved = task.sheets[-1]
    assert name.startswith("raw → whitening")
    assert [(row[0], row[-1]) for row in moved.rows] == [("句子0", "-100"), ("句子5", "+100")]


def test_changes_of_either_sign_count_and_equal_ones_keep_their_order():
    assert most(np.array([1.0, -3.0, 3.0, 0.0]), 3).tolist() == [1, 2, 0]


def test_other_data_than_the_runs_is_refused(run):
    made, data = run
    (data / "mine.tsv").write_text((data / "mine.tsv").read_text(encoding="utf-8") + "x\ty\t3\n", encoding="utf-8")
    with pytest.raises(HengyuError, match="is not the file that run made read"):
        mistakes(made, 2, datasets=[data])


def test_sentences_are_text_and_stand_in_the_page_only_when_asked_for(run, tmp_path, monkeypatch):
    made, data = run
    assert "句子0" not in render(made)
    shown = render(made, mistakes(made, 1, datasets=[data]))
    assert "句子0" in shown and "<b>other" not in shown and "&lt;b&gt;other" in shown
    monkeypatch.setenv("HENGYU_REPORTS", str(tmp_path))
    out = tmp_path / "page"
    done = CliRunner().invoke(main, ["report", "made", "--errors", "1", "--datasets", str(data), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "句子0" in (out / "index.html").read_text(encoding="utf-8")
    assert CliRunner().invoke(main, ["report", "made", "--errors", "1"]).exit_code == 2
