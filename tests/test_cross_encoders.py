"""Cross-encoders: the library's own scores as rows of their own, kept, and refused where a model is something else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.folders import evil, merge
from helpers.words import save_grades

from hengyu.base.errors import HengyuError
from hengyu.bench.run import Outcome, run
from hengyu.cards import load_cards
from hengyu.cards.data import load_pairs
from hengyu.cli import main
from hengyu.encoders import EncoderSpec
from hengyu.encoders.cross import open_cross_encoder
from hengyu.numerics.metrics import spearman
from hengyu.report.board.board import make_board
from hengyu.report.exports.table import export
from hengyu.report.page.leaderboard import render
from hengyu.storage.records import load_run
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

FIRST = ["今天天气真好", "我们去公园散步吧", "他在家学数学，不去海边", "老人问路", "今天天气真好"]
SECOND = ["天气好", "去公园", "学生看电影" * 3, "大家打电话回家", "今天天气真好"]
TASKS = ("grades:test", "grades:valid")


def classifier(folder: Path, bert: Path, kind: str = "Bert", **changes: Any) -> Path:
    """Write a random transformer with a classification head, and the tokenizer of ``bert``."""
    import torch
    import transformers

    torch.manual_seed(4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    width = {"n_embd": 32, "n_layer": 2, "n_head": 2} if kind == "GPT2" else {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 37
    }  # fmt: skip
    more = {"pad_token_id": tokenizer.pad_token_id} if kind != "GPT2" else {}
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer),
        **{"num_labels": 1, "initializer_range": 0.4, "max_position_embeddings": 66, **width, **more, **changes},
    )
    getattr(transformers, f"{kind}ForSequenceClassification")(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def theirs(folder: Path, **more: Any) -> Any:
    from sentence_transformers import CrossEncoder

    return CrossEncoder(str(folder), device="cpu", **more)


def ours(folder: Path, first: list[str] = FIRST, second: list[str] = SECOND, **spec: Any) -> Any:
    found = np.full(len(first), np.nan)
    for at, scores in open_cross_encoder(EncoderSpec(str(folder), **spec)).stream(first, second):
        found[at] = scores
    return found


def same(folder: Path, **more: Any) -> None:
    pairs = list(map(list, zip(FIRST, SECOND, strict=True)))
    wanted = theirs(folder, **more).predict(pairs, batch_size=1)
    assert np.abs(ours(folder) - wanted).max() < 1e-6
    assert np.ptp(wanted) > 1e-4


@pytest.mark.parametrize("kind", ["Bert", "XLMRoberta", "Electra", "DebertaV2", "ModernBert", "GPT2"])
def test_scores_are_those_of_the_library(tmp_path: Path, tiny_bert: Path, kind: str) -> None:
    same(classifier(tmp_path / "m", tiny_bert, kind))


@pytest.mark.parametrize("name", ["linear.Identity", "activation.Sigmoid", "activation.Tanh"])
@pytest.mark.parametrize("key", ["new", "old", "saved"])
def test_the_activation_that_the_folder_names(tmp_path: Path, tiny_bert: Path, name: str, key: str) -> None:
    folder, full = classifier(tmp_path / "m", tiny_bert), f"torch.nn.modules.{name}"
    if key == "new":
        merge(folder / "config.json", sentence_transformers={"activation_fn": full, "version": "4.1.0"})
    elif key == "old":
        merge(folder / "config.json", sbert_ce_default_activation_function=full)
    else:
        import torch

        whole = theirs(folder, activation_fn=getattr(torch.nn, name.rpartition(".")[2])())
        folder = tmp_path / "saved"
        whole.save_pretrained(str(folder))
    same(folder)


def test_long_pairs_are_cut_as_the_library_cuts_them(tmp_path: Path, tiny_bert: Path) -> None:
    folder = classifier(tmp_path / "m", tiny_bert)
    first, second = ["天气" * 60, "公园", "我们" * 40], ["电影" * 50, "散步" * 70, "你们"]
    wanted = theirs(folder).predict(list(map(list, zip(first, second, strict=True))), batch_size=1)
    assert np.abs(ours(folder, first, second) - wanted).max() < 1e-6
    short = theirs(folder, max_length=12).predict(list(map(list, zip(first, second, strict=True))), batch_size=1)
    assert np.abs(ours(folder, first, second, max_length=12) - short).max() < 1e-6
    assert np.abs(wanted - short).max() > 1e-4


def test_a_score_does_not_depend_on_the_other_pairs(tmp_path: Path, tiny_bert: Path) -> None:
    folder = classifier(tmp_path / "m", tiny_bert)
    alone = [ours(folder, [a], [b])[0] for a, b in zip(FIRST, SECOND, strict=True)]
    assert np.abs(ours(folder) - alone).max() < 1e-6
    assert np.abs(ours(folder, FIRST[::-1], SECOND[::-1])[::-1] - alone).max() < 1e-6


def refused(folder: Path, said: str, **spec: Any) -> None:
    with pytest.raises(HengyuError, match=said) as caught:
        open_cross_encoder(EncoderSpec(str(folder), **spec))
    assert len(caught.value.problems) == 1


def test_what_is_no_cross_encoder_is_refused(tmp_path: Path, tiny_bert: Path) -> None:
    refused(tiny_bert, "is not a cross-encoder.*give an encoder with --encoder")
    refused(classifier(tmp_path / "nli", tiny_bert, num_labels=3), "gives 3 numbers for a pair, like a classifier")
    folder = classifier(tmp_path / "m", tiny_bert)
    refused(folder, "prompt does not apply to a cross-encoder", prompt="a")
    refused(folder, "backend does not apply to a cross-encoder", backend="onnx")
    refused(folder, "max_length 999 exceeds", max_length=999)
    refused(tmp_path / "nowhere", "^cross-encoder '.*no such folder")
    refused(folder / "config.json", "^cross-encoder '.*is a file; give its folder, '[^']*'$")
    merge(folder / "config.json", sbert_ce_default_activation_function="torch.hub.load")
    refused(folder, "names the activation function torch.hub.load")


def test_a_head_that_is_missing_is_not_made_up(tmp_path: Path, tiny_bert: Path) -> None:
    from safetensors.torch import load_file, save_file

    for number, lost in enumerate(("classifier.weight", "bert.pooler.dense.weight")):
        folder = classifier(tmp_path / str(number), tiny_bert)
        weights = load_file(folder / "model.safetensors")
        del weights[lost]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(HengyuError, match=f"weights do not fit its config.json .*{lost}"):
            ours(folder)


def test_no_code_of_a_folder_runs_and_no_pickle_is_read(tmp_path: Path, tiny_bert: Path) -> None:
    mark = tmp_path / "mark"
    folder = classifier(tmp_path / "coded", tiny_bert)
    evil(folder, mark)
    merge(
        folder / "config.json",
        auto_map={"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"},
    )
    refused(folder, "runs its own code")
    pickled = classifier(tmp_path / "pickled", tiny_bert)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    refused(pickled, "pickled weights are never loaded")
    named = classifier(tmp_path / "named", tiny_bert)
    evil(named, mark)
    merge(named / "config.json", sentence_transformers={"activation_fn": "evil.Module"})
    refused(named, "runs its own code|names the activation function")
    assert not mark.exists()


def test_given_as_an_encoder_the_remedy_is_said(tmp_path: Path, tiny_bert: Path) -> None:
    folder = classifier(tmp_path / "m", tiny_bert)
    done = CliRunner().invoke(main, ["run", "smoke", "--task", "hengyu-sts:valid", "--encoder", str(folder), "--quiet"])
    assert done.exit_code == 2
    assert "give it with --cross-encoder (cross_encoders in a suite)" in done.stderr


# in a suite -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, tiny_bert: Path) -> Path:
    save_grades(tmp_path)
    classifier(tmp_path / "reranker", tiny_bert)
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "s.toml").write_text(
        f'name = "s"\ntasks = ["grades:test", "grades:valid"]\nentries = ["raw", "whitening(dim=4)"]\nresamples = 50\n'
        f'encoders = ["hengyu-static"]\nbaselines = ["random"]\ncross_encoders = [{json.dumps(str(tmp_path / "reranker"))}]\n',
        encoding="utf-8",
    )
    return tmp_path


def evaluate(place: Path, suite: str = "s") -> Outcome:
    plan = make_plan(load_suite(place / "suites" / f"{suite}.toml"), datasets=[place])
    return run(plan, reports=place / "reports", store=VectorStore(place / "store"))


def test_a_row_of_its_own_with_the_numbers_of_a_plain_script(place: Path) -> None:
    outcome = evaluate(place)
    assert not outcome.failures
    found = load_run(outcome.folder)
    model = theirs(place / "reranker")
    for task in TASKS:
        pairs = load_pairs(load_cards([place])["grades"], task.split(":")[1])
        scores = model.predict(list(map(list, zip(pairs.first, pairs.second, strict=True))), batch_size=1)
        (record,) = [
            r for r in found.records if (r.task, r.encoder, r.metric) == (task, "reranker", "spearman") and r.on_board
        ]
        assert (record.pooling, record.entry, record.fit_on, record.dim, record.bytes) == (
            "-", "cross-encoder", "none", None, None
        )  # fmt: skip
        assert record.value == pytest.approx(spearman(scores.astype(np.float64), pairs.labels), abs=2e-3)
        assert record.low is not None and record.high is not None and record.low < record.value < record.high
        assert record.delta is None
    about = next(e for e in found.header["encoders"] if e["encoder"] == "reranker")
    assert about["kind"] == "cross-encoder" and about["fingerprint"] and not about["baseline"]
    assert any("has no vectors; its row is an upper bound" in w for w in found.header["warnings"])
    assert {r.entry for r in found.records if r.encoder == "reranker"} == {"cross-encoder"}
    assert "reranker" not in {s.encoder for s in found.standings} and found.standings
    page = render(found)
    assert "upper bound</span>" in page
    assert "reranker (upper bound)" in export(found, "md")


def test_an_upper_bound_takes_no_rank_and_is_not_the_best(place: Path) -> None:
    found = load_run(evaluate(place).folder)
    top = [replace(r, value=0.99) if r.encoder == "reranker" and r.metric == "spearman" else r for r in found.records]
    board = make_board(replace(found, records=top))
    first, *others = board.rows
    assert (first.encoder, first.rank, first.mark) == ("reranker", None, "upper bound")
    assert not any(c.best for c in first.cells)
    assert [row.rank for row in others][:3] == [1, 2, 3]
    assert any(c.best for c in others[0].cells)


def test_a_second_run_scores_nothing_and_a_changed_model_does(place: Path, tiny_bert: Path) -> None:
    first = evaluate(place)
    again = evaluate(place)
    assert (again.observed, again.encoded, again.folder) == (0, 0, first.folder)
    assert again.kept == first.observed
    text = (place / "suites" / "s.toml").read_text(encoding="utf-8")
    short = json.dumps(str(place / "reranker"))
    changed = text.replace(f"[{short}]", f"[{{ model = {short}, max_length = 9 }}]")
    (place / "suites" / "s.toml").write_text(changed, encoding="utf-8")
    shorter = evaluate(place)
    assert shorter.observed == 2 and shorter.folder != first.folder
    (place / "suites" / "s.toml").write_text(text, encoding="utf-8")
    classifier(place / "reranker", tiny_bert, hidden_size=64)
    assert evaluate(place).observed == 2


def test_one_that_fails_is_a_row_with_the_reason(place: Path) -> None:
    (place / "reranker" / "model.safetensors").unlink()
    outcome = evaluate(place)
    (failure,) = outcome.failures
    assert "has no weights" in failure
    rows = [r for r in load_run(outcome.folder).records if r.metric == "spearman" and r.on_board and r.task in TASKS]
    assert {r.status for r in rows if r.encoder == "reranker"} == {"failed"}
    assert all("has no weights" in r.reason for r in rows if r.encoder == "reranker")
    assert {r.status for r in rows if r.encoder == "hengyu-static"} == {"ok"}


def test_one_that_stops_on_the_way_is_a_row_with_the_reason(place: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(place / "reranker" / "model.safetensors")
    weights["classifier.weight"][:] = float("nan")
    save_file(weights, place / "reranker" / "model.safetensors", metadata={"format": "pt"})
    outcome = evaluate(place)
    (failure,) = outcome.failures
    assert "is not finite" in failure
    records = [r for r in load_run(outcome.folder).records if r.encoder == "reranker" and r.task in TASKS]
    rows = [r for r in records if r.metric == "spearman" and r.on_board]
    assert [r.status for r in rows] == ["failed", "failed"]


def test_a_retrieval_suite_refuses_one(place: Path) -> None:
    path = place / "suites" / "r.toml"
    path.write_text(
        'kind = "retrieval"\ntasks = ["grades:test"]\nrelevant = 4\ncross_encoders = ["m"]\n', encoding="utf-8"
    )
    with pytest.raises(
        HengyuError, match="key 'cross_encoders' does not fit a retrieval suite: a cross-encoder has no"
    ):
        load_suite(path)
    done = CliRunner().invoke(main, ["run", "retrieval", "--cross-encoder", str(place / "reranker"), "--quiet"])
    assert done.exit_code == 2 and "scores pairs of STS suites only" in done.stderr


def test_two_of_one_name_are_refused(place: Path) -> None:
    path = place / "suites" / "s.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace('["hengyu-static"]', '[{ model = "hengyu-static", name = "reranker" }]'), encoding="utf-8"
    )
    with pytest.raises(HengyuError, match="two encoders are called 'reranker'"):
        evaluate(place)


def test_the_command_line(place: Path) -> None:
    options = ["--datasets", str(place), "--task", "grades:test", "--cross-encoder", str(place / "reranker")]
    options += ["--encoder", "hengyu-static", "--entry", "raw"]
    done = CliRunner().invoke(main, ["run", "smoke", *options])
    assert done.exit_code == 0, done.output
    assert "(upper bound)" in done.output.replace("\n", " ")
    empty = CliRunner().invoke(main, ["run", "smoke", "--cross-encoder", ""])
    assert (empty.exit_code, empty.stderr.count("\n")) == (2, 1) and "is empty" in empty.stderr
