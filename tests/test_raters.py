"""Raters: how well they agree, what that allows, and how their scores reach intervals, the board and the header of a run."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.words import sentences

from hengyu.base.errors import HengyuError
from hengyu.cards import load_card, load_cards
from hengyu.cards.data import load_pairs
from hengyu.cli import main
from hengyu.evaluation.run_metrics import scores_of
from hengyu.numerics.agreement import agreement, most_agreed, resampled_means, spearman_brown
from hengyu.numerics.metrics import spearman
from hengyu.report.board.board import make_board
from hengyu.storage.records import find_run, load_run
from hengyu.tasks.pairs.raters import AGREED, RatedPairs
from hengyu.tasks.pairs.truth import PairScores

ROOT = Path(__file__).resolve().parents[1]
USTS = Path(os.environ.get("HENGYU_USTS") or ROOT.parent / "shared" / "usts")


def rated(n: int = 300, raters: int = 6, noise: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True values (n,), and ratings (n, R) that are these with noise."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    return truth, truth[:, None] + noise * rng.normal(size=(n, raters))


@pytest.mark.parametrize("named", [True, False])
def test_the_ceiling_is_what_the_truth_itself_reaches(named: bool) -> None:
    truth, ratings = rated(800, 6, 1.5)
    found = agreement(ratings, named=named)
    assert found.ceiling.value == pytest.approx(spearman(truth, ratings.mean(axis=1)), abs=0.03)
    # of normal values with noise of standard deviation 1.5: one rater r = 1 / (1 + 2.25), six of them by Spearman-Brown
    assert found.reliability.value == pytest.approx(6 / (6 + 2.25), abs=0.03)
    assert found.one.value < found.ceiling.value
    for one in (found.one, found.halves, found.reliability, found.ceiling):
        assert one.low is not None and one.high is not None and one.low < one.value < one.high
    assert agreement(ratings, named=named) == found


def test_spearman_brown_and_those_who_agree_wholly() -> None:
    assert spearman_brown(0.5) == pytest.approx(2 / 3)
    ratings = np.repeat(np.arange(30.0)[:, None], 3, axis=1)
    found = agreement(ratings, named=False)
    assert found.one.value == found.ceiling.value == 1.0 and most_agreed(ratings).all()
    assert (resampled_means(ratings, False, np.random.default_rng(0)) == np.arange(30.0)).all()


def truth_of(human: bool, ratings: np.ndarray) -> RatedPairs:
    n = len(ratings)
    metrics = ("spearman", "pearson", AGREED)
    return RatedPairs("t", ratings.mean(axis=1), lambda: np.arange(n), metrics, ratings=ratings, human=human)


def test_intervals_of_human_raters_are_wider_and_stay_where_the_value_is() -> None:
    truth, ratings = rated(400, 4, 2.0)
    scores = [PairScores(truth + np.random.default_rng(k).normal(size=400)) for k in (1, 2)]
    human, model = truth_of(True, ratings), truth_of(False, ratings)
    wide = human.replicates(scores, human.metrics, 300, 0)
    narrow = model.replicates(scores, model.metrics, 300, 0)
    for metric in human.metrics:
        assert (wide[metric].std(axis=1) > narrow[metric].std(axis=1)).all(), metric
        assert wide[metric].mean(axis=1) == pytest.approx(narrow[metric].mean(axis=1), abs=1e-9)
    # both entries see the same pairs and raters, so that much of what is shared goes out of their difference
    apart = wide["spearman"][0] - wide["spearman"][1]
    assert apart.std() < 0.9 * np.hypot(*wide["spearman"].std(axis=1))


def test_pairs_on_which_raters_agree() -> None:
    truth, ratings = rated(200, 5)
    human = truth_of(True, ratings)
    kept = most_agreed(ratings)
    assert 95 <= kept.sum() <= 105 and ratings[kept].std(axis=1).max() <= ratings[~kept].std(axis=1).min()
    value = human.measure(PairScores(truth)).values[AGREED]
    assert value == spearman(truth[kept], ratings.mean(axis=1)[kept])


CARD = """
name = "mine"
labels = { scale = [0, 5] }
columns = { sentence1 = "a", sentence2 = "b", label = "mean" }
[raters]
column = "each"
[splits.test]
file = "mine.json"
"""


def written(folder: Path, change: object = None, at: int = 2) -> Path:
    rng = np.random.default_rng(2)
    rows = []
    for a, b, y in sentences(rng, 60):
        each = np.clip(np.round(y + rng.normal(size=5), 1), 0, 5).tolist()
        rows.append({"a": a, "b": b, "each": each, "mean": round(float(np.mean(each)), 2)})
    if change is not None:
        rows[at]["each"] = change
    (folder / "mine.json").write_text(json.dumps({str(7 * i): row for i, row in enumerate(rows)}), encoding="utf-8")
    (folder / "mine.toml").write_text(CARD, encoding="utf-8")
    return folder / "mine.toml"


def test_a_run_shows_raters_as_a_baseline_row_and_in_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path)
    (tmp_path / "s.toml").write_text('tasks = ["mine:test"]\nresamples = 64\n', encoding="utf-8")
    done = CliRunner().invoke(main, ["run", str(tmp_path / "s.toml"), "--datasets", str(tmp_path)])
    assert done.exit_code == 0, done.output
    run = load_run(find_run("latest", tmp_path / "reports"))
    (human,) = (r for r in run.records if r.encoder == "one human" and r.task == "mine:test")
    raters = run.header["tasks"][0]["raters"]
    assert (raters["kind"], raters["count"], raters["one"]) == ("human", 5, [human.value, human.low, human.high])
    assert raters["halves"][0] < raters["reliability"][0] < raters["ceiling"][0]
    assert "one human (baseline)" in done.output
    assert "mine:test: rated by 5 people, of whom one against the mean of the others has" in done.output
    board = make_board(run)
    row = next(row for row in board.rows if row.encoder == "one human")
    assert row.rank is None and row.mark == "baseline" and not any(cell.best for cell in row.cells)
    assert {row.rank for row in board.rows if row.rank} == set(range(1, len(board.rows)))
    assert not [key for key in scores_of(run).cells if key.encoder == "one human"]  # nothing to gate
    agreed = [r for r in run.records if r.metric == AGREED]
    assert {r.encoder for r in agreed} >= {"hengyu-mini", "tfidf"} and all(r.low <= r.value <= r.high for r in agreed)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("4.1", "item 3: the raters' scores must be a list of two or more, not '4.1'"),
        ([1.0, 2.0], "item 3: every pair needs as many scores as the first, not 2 scores"),
        ([9.0, 1.0, 1.0, 1.0, 1.0], "a rater's score must be within 0..5"),
        ([0.0] * 5, "the label must be the mean of the raters' scores, 0, not"),
        (["x"] * 5, "a rater's score must be a number"),
    ],
)
def test_scores_that_are_none_are_refused_with_their_line(tmp_path: Path, change: object, says: str) -> None:
    with pytest.raises(HengyuError) as e:
        load_pairs(load_card(written(tmp_path, change)), "test")
    assert says in str(e.value) and "mine.json" in str(e.value)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("", "key 'raters.column' or 'file' is needed, and only one of them"),
        ('file = "r.tsv"', "key 'raters.columns' and 'id' are needed with 'file'"),
        ('column = "each"\nkind = "robot"', "key 'raters.kind' has the unknown value 'robot'"),
    ],
)
def test_a_card_says_where_the_scores_are(tmp_path: Path, keys: str, says: str) -> None:
    written(tmp_path).write_text(CARD.replace('column = "each"', keys), encoding="utf-8")
    with pytest.raises(HengyuError) as e:
        load_card(tmp_path / "mine.toml")
    assert says in str(e.value)


def test_the_raters_of_hengyu_sts_are_named_as_models() -> None:
    card = load_cards()["hengyu-sts"]
    assert card.raters is not None and card.raters.kind == "model"
    pairs = load_pairs(card, "test")
    with (card.path.parent / card.raters.file).open(encoding="utf-8") as file:
        known = {row["id"]: row for row in csv.DictReader(file, delimiter="\t")}
    with pairs.source.open(encoding="utf-8") as file:
        ids = [row["id"] for row in csv.DictReader(file, delimiter="\t")]
    assert pairs.ratings is not None
    assert pairs.ratings.tolist() == [[float(known[i][c]) for c in card.raters.columns] for i in ids]
    # README: writer with rater 1 0.970, writer with rater 2 0.970, rater 1 with rater 2 0.982, over the whole set
    assert 0.95 < agreement(pairs.ratings, named=True).one.value < 0.99


@pytest.mark.skipif(not USTS.is_dir(), reason="needs USTS (hengyu fetch ustsc ustsu), in HENGYU_USTS")
@pytest.mark.parametrize(
    ("name", "one", "halves", "reliability", "ceiling"),
    [("ustsc", 61.2, 81.9, 90.0, 94.9), ("ustsu", 72.4, 75.1, 85.8, 92.6)],
)
def test_the_figures_of_usts(name: str, one: float, halves: float, reliability: float, ceiling: float) -> None:
    pairs = load_pairs(load_cards()[name], "test", USTS)
    assert pairs.ratings is not None
    found = agreement(pairs.ratings, named=False, key=pairs.task)
    measured = [100 * x.value for x in (found.one, found.halves, found.reliability, found.ceiling)]
    assert measured == pytest.approx([one, halves, reliability, ceiling], abs=0.5)
