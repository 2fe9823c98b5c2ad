"""cross-encoder(...): the library's pairs, losses and scores; trained, kept, and a row that stands beside those of vectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.words import save_grades
from test_tuning import training_data_of

from hengyu.base.errors import HengyuError
from hengyu.bench.run import Outcome, run
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.methods.grammar import parse_entry
from hengyu.methods.training.cache import TunedEncoderCache
from hengyu.methods.training.losses import ranked
from hengyu.methods.training.pair_model import TrainablePairEncoder, cut_to
from hengyu.numerics.metrics import spearman
from hengyu.report.board.board import make_board
from hengyu.storage.records import load_run
from hengyu.storage.tuned import TunedStore
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

FIRST = ["今天天气真好", "我们去公园散步吧", "他在家学数学，不去海边", "老人问路" * 9, "今天"]
SECOND = ["天气好", "去公园", "学生看电影" * 12, "大家打电话回家" * 8, "今天天气真好"]


def opened(folder: Path, *, segments: bool = False, length: int = 64) -> TrainablePairEncoder:
    encoder = open_encoder(EncoderSpec(str(folder)))
    found = TrainablePairEncoder(encoder, "cls", segments=segments, probabilities=True)
    found.open(dropout=0.0, length=length)
    return found


def rows_of(model: TrainablePairEncoder) -> list[list[int]]:
    return [model.join(a, b) for a, b in zip(model.tokens(FIRST), model.tokens(SECOND), strict=True)]


# laws -----------------------------------------------------------------------------------------------------------------


def test_both_texts_fit_and_the_longer_one_is_shortened_first() -> None:
    for room in (2, 5, 8):
        for a in range(12):
            for b in range(12):
                x, y = cut_to(room, a, b)
                assert x <= a and y <= b and x + y == min(room, a + b)
                assert (x, y) == (a, b) or (abs(x - y) <= 1 and min(x, y) < min(a, b)) or min(x, y) == min(a, b)
                assert cut_to(room, b, a) == (y, x) or a == b


@pytest.mark.parametrize("length", [9, 64])
def test_a_pair_is_read_as_the_library_reads_it(tiny_bert: Path, length: int) -> None:
    from transformers import AutoTokenizer

    model = opened(tiny_bert, segments=True, length=length)
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    wanted = tokenizer(FIRST, SECOND, truncation="longest_first", max_length=length)
    rows = rows_of(model)
    assert rows == wanted["input_ids"] and max(map(len, rows)) <= length
    padded = model.tokenizer.rectangle(rows)
    types = model.token_types(*padded)
    assert types is not None
    assert [t[: len(r)] for t, r in zip(types, rows, strict=True)] == wanted["token_type_ids"]
    assert opened(tiny_bert, length=length).token_types(*padded) is None


def test_a_score_does_not_depend_on_the_other_pairs(tiny_bert: Path) -> None:
    model = opened(tiny_bert)
    torch.manual_seed(3)
    model.add_head()
    rows = rows_of(model)
    alone = np.concatenate([model.scores([row]) for row in rows])
    np.testing.assert_allclose(model.scores(rows), alone, atol=1e-6)
    assert np.ptp(alone) > 1e-4 and (alone > 0).all() and (alone < 1).all()


# references -----------------------------------------------------------------------------------------------------------


def test_the_losses_are_those_of_the_library_and_of_the_formula(tiny_bert: Path) -> None:
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss as Theirs

    training_data = training_data_of(24)
    model = opened(tiny_bert)
    method = parse_entry("cross-encoder(dropout=0.0)").steps[0].make()
    objective = method.make(model, training_data)
    batch = np.arange(12)
    vectors = model.embed(objective.rows(batch))
    logits, labels = model.logits(vectors), objective.labels[:12]
    assert len(objective.rows(batch)) == 12

    class Head(CrossEncoder):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)

        num_labels = 1
        device = torch.device("cpu")

        def preprocess(self, pairs: Any, prompt: Any = None, task: Any = None) -> dict[str, Any]:
            return {}

        def forward(self, features: dict[str, Any], **more: Any) -> dict[str, Any]:
            return {"scores": logits[:, None]}

        def __call__(self, features: dict[str, Any], **more: Any) -> dict[str, Any]:
            return self.forward(features)

    theirs = Theirs(Head())
    wanted = theirs.bce_with_logits_loss(torch.nn.Identity()(logits), labels)
    assert objective.loss(vectors, batch).item() == pytest.approx(wanted.item(), abs=1e-6)
    cosent = parse_entry("cross-encoder(loss=cosent, scale=2.0)").steps[0].make().make(model, training_data)
    s = (2 * model.logits(model.embed(cosent.rows(batch)))).detach().double().numpy()
    y = cosent.labels[:12].numpy()
    direct = np.log(1 + sum(np.exp(s[j] - s[i]) for i in range(12) for j in range(12) if y[i] > y[j]))
    assert cosent.loss(model.embed(cosent.rows(batch)), batch).item() == pytest.approx(direct, rel=1e-5)
    assert ranked(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.0])).item() == 0.0


@pytest.mark.parametrize("more", ["", ", loss=cosent", ", segments=true"])
def test_the_stored_folder_is_the_librarys_cross_encoder(tmp_path: Path, tiny_bert: Path, more: str) -> None:
    from sentence_transformers import CrossEncoder

    cache = TunedEncoderCache(TunedStore(tmp_path / "tuned"))
    entry = parse_entry(f"cross-encoder(lr=1e-3, epochs=1, batch=8{more})")
    encoder = open_encoder(EncoderSpec(str(tiny_bert)))
    found = cache.tune_pairs(encoder, "cls", entry.tuners, training_data_of(40), "train")
    ours = found.scorer.scores(FIRST, SECOND)
    theirs = CrossEncoder(str(found.folder), device="cpu", local_files_only=True)
    pairs = list(map(list, zip(FIRST, SECOND, strict=True)))
    np.testing.assert_allclose(ours, theirs.predict(pairs, batch_size=1), atol=2e-6)
    assert np.ptp(ours) > 1e-4
    again = cache.tune_pairs(encoder, "cls", entry.tuners, training_data_of(40), "train")
    np.testing.assert_array_equal(again.scorer.scores(FIRST, SECOND), ours)
    assert len(cache.store.folders()) == 1
    if more:
        return
    other = cache.tune_pairs(encoder, "cls", entry.with_seed(1).tuners, training_data_of(40), "train")
    assert np.abs(other.scorer.scores(FIRST, SECOND) - ours).max() > 1e-4 and len(cache.store.folders()) == 2


# worked examples ------------------------------------------------------------------------------------------------------


def test_it_learns_what_the_labels_say(tmp_path: Path, tiny_bert: Path) -> None:
    data = training_data_of(96, held=True)
    assert data.pairs is not None
    cache = TunedEncoderCache(TunedStore(tmp_path))
    entry = parse_entry("cross-encoder(lr=1e-3, epochs=5, batch=8, dropout=0.0, patience=30)")
    encoder = open_encoder(EncoderSpec(str(tiny_bert)))
    found = cache.tune_pairs(encoder, "mean", entry.tuners, data, "train")
    (report,) = found.trained
    first, second = ([data.texts[int(i)] for i in part] for part in (data.pairs.first, data.pairs.second))
    assert spearman(found.scorer.scores(first, second), data.pairs.labels) > 0.6
    assert "uniformity" not in report and report["kept_step"] > 0
    best = max(report["held_out_spearman"])
    held = data.held
    assert held is not None
    pairs = held.some(1000)
    first, second = ([data.texts[int(i)] for i in part] for part in (pairs.first, pairs.second))
    assert spearman(found.scorer.scores(first, second), pairs.labels) == pytest.approx(best, abs=1e-4)


SUITE = """
name = "s"
tasks = ["grades:test"]
encoders = [{model}]
poolings = ["cls"]
fit_on = "train"
resamples = 50
baselines = []
similarity = ["dot"]
entries = [
    "raw",
    {{ entry = "cosent(lr=1e-3, epochs=1, batch=16)", seeds = 2 }},
    {{ entry = "cross-encoder(lr=1e-3, epochs=1, batch=16)", seeds = 2 }},
]
compare = [["cross-encoder(lr=1e-3, epochs=1, batch=16)", "cosent(lr=1e-3, epochs=1, batch=16)"]]
"""


def evaluate(place: Path) -> Outcome:
    plan = make_plan(load_suite(place / "s.toml"), datasets=[place])
    return run(plan, reports=place / "reports", store=VectorStore(place / "store"))


def test_a_row_beside_those_of_vectors_with_paired_differences(tmp_path: Path, tiny_bert: Path) -> None:
    save_grades(tmp_path)
    (tmp_path / "s.toml").write_text(SUITE.format(model=repr(str(tiny_bert))), encoding="utf-8")
    outcome = evaluate(tmp_path)
    assert not outcome.failures
    found = load_run(outcome.folder)
    joint = "cross-encoder(lr=0.001, batch=16, epochs=1)"
    mine = [r for r in found.records if r.entry == joint and r.metric == "spearman"]
    (mean,) = [r for r in mine if r.on_board and r.task == "grades:test"]
    assert (mean.pooling, mean.fit_on, mean.dim, mean.bytes, mean.status) == ("cls", "train", None, None, "ok")
    draws = [r.value for r in mine if r.draw and r.task == "grades:test"]
    assert len(set(draws)) == 2 and mean.value == pytest.approx(np.mean(draws))
    assert mean.delta is not None and mean.delta_low < mean.delta < mean.delta_high
    (between,) = [d for d in found.differences if d.entry == joint and d.task == "grades:test"]
    assert between.low is not None and between.low < between.value < between.high
    assert not any(" by dot" in r.entry and "cross" in r.entry for r in found.records)
    rows = {row.entry: row for row in make_board(found).rows}
    assert rows[joint].mark == "scores pairs" and rows["raw"].mark == ""
    assert rows[joint].rank is None and rows["raw"].rank is not None
    assert not any("cross-encoder" in s.entry for s in found.standings)
    again = evaluate(tmp_path)
    assert (again.observed, again.folder) == (0, outcome.folder)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("cross-encoder > whitening", "scores pairs and leaves no vectors, so it must come last; remove '> whitening'"),
        ("cross-encoder > cosent", "leaves no vectors, so it must come last"),
        ("cross-encoder by dot", "has no vectors of its own to compare"),
        ("matryoshka(cross-encoder, dims=8)", "wraps tuners of sentence vectors, and cross-encoder scores pairs"),
        ("cross-encoder(loss=mse)", "loss=mse.* must be bce or cosent"),
        ("cross-encoder(scale=2)", "needs loss=cosent"),
    ],
)
def test_what_it_cannot_be_is_said(entry: str, said: str) -> None:
    with pytest.raises(HengyuError, match=said) as caught:
        parse_entry(entry)
    assert len(caught.value.problems) == 1


def test_what_cannot_be_trained_is_said(tmp_path: Path, tiny_bert: Path) -> None:
    encoder = open_encoder(EncoderSpec(str(tiny_bert)))
    step = parse_entry("cross-encoder(length=4)").steps[0].make()
    with pytest.raises(HengyuError, match="length=4 leaves no room for two texts"):
        step.trainable(encoder, "cls").open(dropout=0.0, length=4)
    with pytest.raises(HengyuError, match="the pooling mask reads a prompt's mask token"):
        step.trainable(replace_prompt(encoder, "[MASK]{text}"), "mask")
    asked = ["run", "smoke", "--task", "hengyu-sts:valid", "--entry", "cross-encoder", "--encoder", "hengyu-mini"]
    done = CliRunner().invoke(main, [*asked, "--quiet"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1) and "fit_on" in done.stderr
    done = CliRunner().invoke(main, ["cloud", "hengyu-mini", "--entry", "cosent"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1) and "trains the encoder" in done.stderr
    done = CliRunner().invoke(main, ["run", "smoke-retrieval", "--entry", "cross-encoder", "--fit-on", "train"])
    assert done.exit_code == 2 and "search with its folder: cross-rerank(model=DIR)" in done.stderr
    assert "trains the encoder" not in done.stderr


def replace_prompt(encoder: Any, prompt: str) -> Any:
    return open_encoder(replace(encoder.spec, prompt=prompt))
