"""Triples: of labelled pairs or of a card of their own, what supervised SimCSE makes of them, and who may learn from them."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.words import WHAT, WHEN, WHO, save_grades
from test_losses import Given, features

from hengyu.base.errors import Degenerate, HengyuError
from hengyu.bench.run import run
from hengyu.bench.task_inputs import make_training_data
from hengyu.cards import load_card
from hengyu.cards.data import load_pairs
from hengyu.cli import main
from hengyu.encoders import EncoderSpec
from hengyu.methods.grammar import parse_entry
from hengyu.methods.training.data import LabelledPairs, TrainingData
from hengyu.methods.training.model import TrainableEncoder
from hengyu.methods.training.triples import Triples
from hengyu.methods.tuners.simcse_sup import SupervisedSimCse
from hengyu.storage.records import load_run
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

CARD = 'name = "nli"\nkind = "triples"\n[splits.train]\nfile = "nli.tsv"\n'


def pairs_of(*rows: tuple[int, int, float], scale: tuple[float, float] = (0.0, 1.0)) -> LabelledPairs:
    first, second, labels = (np.array(part) for part in zip(*rows, strict=True))
    return LabelledPairs(first, second, labels.astype(float), scale, binary=scale == (0.0, 1.0))


def triples_of(pairs: LabelledPairs, positive: float = 0.8, negative: float = 0.2, seed: int = 0) -> Triples:
    return Triples.of(pairs, positive, negative, np.random.default_rng(seed))


def test_a_positive_pair_finds_a_negative_of_its_anchor_whichever_way_round_it_stands() -> None:
    triples = triples_of(pairs_of((0, 1, 1), (0, 2, 0), (3, 4, 1), (5, 4, 0), (6, 7, 1), (0, 8, 1)))
    found = list(zip(triples.anchors.tolist(), triples.positives.tolist(), triples.negatives.tolist(), strict=True))
    assert found == [(0, 1, 2), (4, 3, 5), (6, 7, -1), (0, 8, 2)]
    assert triples.hard(np.array([2, 0])).tolist() == [2]


def test_every_negative_is_one_that_the_labels_say() -> None:
    rng = np.random.default_rng(4)
    drawn = rng.integers(0, 30, (2, 300))
    rows = [(int(a), int(b), float(y)) for a, b, y in zip(*drawn, rng.integers(0, 6, 300), strict=True)]
    pairs = pairs_of(*rows, scale=(0.0, 5.0))
    triples = triples_of(pairs)
    assert len(triples) == (pairs.labels >= 4).sum()
    alike = {frozenset((a, b)) for a, b, y in rows if y >= 4}
    apart = {frozenset((a, b)) for a, b, y in rows if y <= 1}
    assert (triples.negatives >= 0).any()
    for a, b, n in zip(triples.anchors, triples.positives, triples.negatives, strict=True):
        assert frozenset((int(a), int(b))) in alike
        if n >= 0:
            assert frozenset((int(a), int(n))) in apart - alike and n != a
    excused = triples.excused(np.arange(len(triples)))
    candidates = np.concatenate([triples.positives, triples.hard(np.arange(len(triples)))])
    for i, j in rng.integers(0, excused.shape, (500, 2)):
        a, c = int(triples.anchors[i]), int(candidates[j])
        assert excused[i, j] == (a == c or frozenset((a, c)) in alike)


def test_labels_that_contradict_each_other_make_no_negative() -> None:
    assert triples_of(pairs_of((0, 1, 1), (1, 0, 0), (0, 0, 0))).negatives.tolist() == [-1]
    with pytest.raises(Degenerate, match="no training pair has a label of at least 0.8 of the scale"):
        triples_of(pairs_of((0, 1, 0), (2, 3, 0)))


def graded(n: int = 60) -> TrainingData:
    """Anchors with a positive each and, in the first half, a hard negative; all sentences differ."""
    rng = np.random.default_rng(3)
    every = [f"{who}{when}{what}" for who in WHO for when in WHEN for what in WHAT]
    texts = [every[i] for i in rng.permutation(len(every))][: 3 * n]
    at = np.arange(n)
    first, second = np.concatenate([at, at[: n // 2]]), np.concatenate([n + at, 2 * n + at[: n // 2]])
    labels = np.repeat([1.0, 0.0], [n, n // 2])
    pairs = LabelledPairs(first, second, labels, (0.0, 1.0), binary=True)
    counts = np.bincount(np.concatenate([first, second]), minlength=3 * n)
    return TrainingData(texts, counts, pairs)


@pytest.mark.parametrize("hard", [True, False])
def test_the_loss_is_multiple_negatives_ranking_with_and_without_hard_negatives(
    trainable: TrainableEncoder, hard: bool
) -> None:
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    ours = SupervisedSimCse(hard=hard).make(trainable, graded())
    with_one = np.flatnonzero(ours.triples.negatives[ours.numbers] >= 0) if hard else np.arange(ours.size)
    batch = with_one[:24]
    rows = ours.rows(batch)
    assert len(rows) == (72 if hard else 48)
    vectors = trainable.embed(rows).detach()
    theirs: Any = MultipleNegativesRankingLoss(Given(), scale=20.0)
    want = theirs(features(*torch.split(vectors, 24)), None)
    assert float(ours.loss(vectors, batch)) == pytest.approx(float(want), abs=1e-5)


def test_a_batch_in_which_few_have_a_hard_negative_uses_those_there_are(trainable: TrainableEncoder) -> None:
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    ours = SupervisedSimCse().make(trainable, graded())
    batch = np.arange(ours.size)
    vectors = trainable.embed(ours.rows(batch)).detach()
    assert len(vectors) == 150
    anchors, rest = vectors[:60], vectors[60:]
    scores = 20 * torch.nn.functional.normalize(anchors) @ torch.nn.functional.normalize(rest).T
    want = torch.nn.functional.cross_entropy(scores, torch.arange(60))
    assert float(ours.loss(vectors, batch)) == pytest.approx(float(want), abs=1e-5)
    theirs: Any = MultipleNegativesRankingLoss(Given(), scale=20.0)
    assert float(want) > float(theirs(features(anchors, rest[:60]), None))  # more to be told from


def test_another_positive_of_an_anchor_is_no_negative_of_it(trainable: TrainableEncoder) -> None:
    training_data = graded()
    pairs = training_data.pairs
    assert pairs is not None
    twice = LabelledPairs(
        np.append(pairs.first, 0), np.append(pairs.second, 61), np.append(pairs.labels, 1.0), pairs.scale, binary=True
    )
    ours = SupervisedSimCse(hard=False).make(trainable, replace(training_data, pairs=twice))
    batch = np.array([int(np.flatnonzero(ours.numbers == i)[0]) for i in (0, 60, 1)])
    vectors = trainable.embed(ours.rows(batch)).detach()
    scores = 20 * torch.nn.functional.normalize(vectors[:3]) @ torch.nn.functional.normalize(vectors[3:]).T
    # anchor 0 stands twice, with 60 and with 61, and 61 is the positive of anchor 1 too
    for i, j in ((0, 1), (0, 2), (1, 0), (1, 2), (2, 1)):
        scores[i, j] = -torch.inf
    want = torch.nn.functional.cross_entropy(scores, torch.arange(3))
    assert float(ours.loss(vectors, batch)) == pytest.approx(float(want), abs=1e-5)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("simcse-sup(positive=0.2)", "must be shares of the label scale, the positive above the negative"),
        ("simcse-sup(negative=-0.5)", "must be shares of the label scale"),
        ("simcse-sup(temperature=0.0)", "must lie in 0.001..10"),
        ("whitening > simcse-sup", "must come before whitening"),
    ],
)
def test_mistakes_in_an_entry_are_said(entry: str, says: str) -> None:
    with pytest.raises(HengyuError, match=says):
        parse_entry(entry)


def nli(folder: Path, n: int = 40, card: str = CARD) -> Path:
    """Write a card of triples: the positive changes who, the negative changes what."""
    rng = np.random.default_rng(5)
    lines = ["anchor\tpositive\tnegative"]
    for i in range(n):
        (a, b), when, (c, d) = (rng.choice(p, k, replace=False) for p, k in ((WHO, 2), (WHEN, 1), (WHAT, 2)))
        lines.append(f"{a}{when[0]}{c}{i}\t{b}{when[0]}{c}\t{a}{when[0]}{d}")
    (folder / "nli.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "nli.toml").write_text(card, encoding="utf-8")
    return folder / "nli.toml"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    save_grades(tmp_path)
    nli(tmp_path)
    return tmp_path


def plan_of(home: Path, entries: str, model: Path | str = "hengyu-mini", tasks: str = '"grades:test"') -> Any:
    (home / "suites").mkdir(exist_ok=True)
    path = home / "suites" / "some.toml"
    path.write_text(f"tasks = [{tasks}]\nbaselines = []\nresamples = 20\nentries = [{entries}]\n", encoding="utf-8")
    suite = replace(load_suite(path), encoders=(EncoderSpec(str(model)),))
    return make_plan(suite, datasets=[home])


def test_a_triple_is_two_labelled_pairs(home: Path) -> None:
    pairs = load_pairs(load_card(home / "nli.toml"), "train")
    assert len(pairs.labels) == 80 and pairs.labels.tolist() == [1, 0] * 40
    assert pairs.first[::2] == pairs.first[1::2]
    plan = plan_of(home, '{ entry = "simcse-sup", fit_on = "nli:train" }')
    training_data = make_training_data(plan.texts, plan.tasks[0], plan.fits["grades:test", "nli:train"], None)
    assert training_data.pairs is not None
    triples = triples_of(training_data.pairs)
    shown = [
        [training_data.texts[int(i)] for i in part] for part in (triples.anchors, triples.positives, triples.negatives)
    ]
    lines = (home / "nli.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert ["\t".join(row) for row in zip(*shown, strict=True)] == lines


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "tsv.gz", "positions"])
def test_triples_are_read_from_every_format(home: Path, tmp_path: Path, form: str) -> None:
    import json

    want = load_pairs(load_card(home / "nli.toml"), "train")
    lines = [line.split("\t") for line in (home / "nli.tsv").read_text(encoding="utf-8").splitlines()]
    card, file = CARD, f"nli.{form}"
    if form == "csv":
        (home / file).write_text("\n".join(map(",".join, lines)), encoding="utf-8")
    elif form == "jsonl":
        rows = [json.dumps(dict(zip(lines[0], row, strict=True)), ensure_ascii=False) for row in lines[1:]]
        (home / file).write_text("\n".join(rows), encoding="utf-8")
    elif form == "parquet":
        import pandas as pd

        pd.DataFrame(lines[1:], columns=lines[0]).to_parquet(home / file)
    elif form == "tsv.gz":
        (home / file).write_bytes(gzip.compress((home / "nli.tsv").read_bytes()))
    else:
        file = "bare.tsv"
        (home / file).write_text("\n".join("\t".join([c, a, b]) for a, b, c in lines[1:]), encoding="utf-8")
        card = card.replace("[splits", "header = false\ncolumns = { anchor = 1, positive = 2, negative = 0 }\n[splits")
    (home / "nli.toml").write_text(card.replace("nli.tsv", file), encoding="utf-8")
    found = load_pairs(load_card(home / "nli.toml"), "train")
    assert (found.first, found.second) == (want.first, want.second) and np.array_equal(found.labels, want.labels)


@pytest.mark.parametrize(
    ("card", "says"),
    [
        (
            CARD.replace("[splits", 'columns = { anchor = "a", sentence2 = "b" }\n[splits'),
            "'columns.sentence2' is unknown",
        ),
        (CARD.replace("[splits", 'columns = { anchor = "positive" }\n[splits'), "must be three different columns"),
        (CARD.replace("[splits", "labels = { scale = [0, 5] }\n[splits"), "key 'labels' is unknown"),
        (CARD.replace("triples", "triple"), "has the unknown value 'triple'.*triples"),
        (CARD.replace("nli.tsv", "../nli.tsv"), "must be a path below the card's folder"),
    ],
)
def test_mistakes_in_the_card_are_said(tmp_path: Path, card: str, says: str) -> None:
    with pytest.raises(HengyuError, match=says):
        load_card(nli(tmp_path, card=card))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("anchor\tpositive\tother\na\tb\tc\n", "the header has no column 'negative'"),
        ("anchor\tpositive\tnegative\na\tb\t\nd\te\tf\n", "line 2: a sentence must not be empty"),
        ("anchor\tpositive\tnegative\na\tb\n", "line 2: a line must have 3 fields between tabs, not 2"),
        ("anchor\tpositive\tnegative\n", "holds no pairs"),
    ],
)
def test_mistakes_in_the_file_are_said_with_their_line(tmp_path: Path, content: str, says: str) -> None:
    card = nli(tmp_path)
    (tmp_path / "nli.tsv").write_text(content, encoding="utf-8")
    with pytest.raises(HengyuError, match=says) as error:
        load_pairs(load_card(card), "train")
    assert ": lines " not in str(error.value)  # one line is one, though it makes two pairs


def test_a_malformed_triple_is_dropped_whole_and_rows_count_triples(tmp_path: Path) -> None:
    card = nli(tmp_path, card=CARD.replace("[splits", 'malformed = "drop"\n[splits') + "rows = 2\n")
    (tmp_path / "nli.tsv").write_text("anchor\tpositive\tnegative\na\tb\tc\nd\te\t\nf\tg\th\n", encoding="utf-8")
    pairs = load_pairs(load_card(card), "train")
    assert pairs.first == ("a", "a", "f", "f") and pairs.dropped == (3,)
    card.write_text(card.read_text(encoding="utf-8").replace("rows = 2", "rows = 3"), encoding="utf-8")
    with pytest.raises(HengyuError, match=r"2 rows \(malformed line 3 dropped\), but .* says 3"):
        load_pairs(load_card(card), "train")


def test_triples_are_to_train_on_and_not_to_be_weighed(home: Path) -> None:
    with pytest.raises(HengyuError, match='which are for training only; .* write fit_on = "nli:train"'):
        plan_of(home, '"raw"', tasks='"nli:train"')
    done = CliRunner().invoke(main, ["run", "smoke", "--datasets", str(home), "--task", "nli:train"])
    assert done.exit_code == 2 and "holds triples" in done.output
    listed = CliRunner().invoke(main, ["list", "datasets", "--datasets", str(home)])
    assert "triples" in listed.output


def test_a_row_is_trained_on_triples_and_says_so(home: Path, tiny_bert: Path) -> None:
    entry = '{ entry = "simcse-sup(lr=1e-3, batch=8, epochs=4, seed=1)", fit_on = "nli:train" }'
    done = run(
        plan_of(home, entry, tiny_bert),
        reports=home / "out",
        store=VectorStore(home / "store" / "vectors"),
        tuned=TunedStore(home / "store" / "tuned"),
    )
    finished = load_run(done.folder)
    (row,) = [r for r in finished.records if (r.metric, r.task) == ("spearman", "grades:test") and r.fit_on != "none"]
    assert (row.status, row.fit_on) == ("ok", "nli:train")
    trained = [f["trained"][0] for f in finished.header["fits"] if f["entry"].startswith("simcse-sup")]
    assert all((t["examples"], t["steps"]) == (40, 20) for t in trained) and trained
    assert trained[0]["loss"][-1] < trained[0]["loss"][0]
