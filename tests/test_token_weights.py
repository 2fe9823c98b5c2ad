"""Weighted means: laws, equality with sentence-transformers' module and with NumPy, and what a user sees of them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.words import save_grades, sentences

from hengyu.base.errors import HengyuError
from hengyu.base.progress import silent
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.encoders.huggingface import HuggingFace
from hengyu.methods.grammar import parse_entry
from hengyu.methods.training.cache import TunedEncoderCache
from hengyu.methods.training.data import TrainingData
from hengyu.methods.training.token_weights import Frequencies
from hengyu.methods.tuners.idf import Idf
from hengyu.methods.tuners.sif import Sif
from hengyu.storage.identity import vectors_key
from hengyu.storage.records import load_run
from hengyu.storage.tuned import TunedStore


def data_of(seed: int = 1) -> TrainingData:
    texts = list(dict.fromkeys(t for a, b, _ in sentences(np.random.default_rng(seed), 60) for t in (a, b)))
    return TrainingData(texts, np.arange(len(texts)) % 3 + 1)


@pytest.fixture(scope="module")
def encoder(tiny_bert: Path) -> HuggingFace:
    return open_encoder(EncoderSpec(str(tiny_bert)))


def tuned(
    encoder: HuggingFace, store: Path, entry: str, pooling: str = "mean", data: TrainingData | None = None
) -> Any:
    tuning = TunedEncoderCache(TunedStore(store), silent)
    return tuning.tune(encoder, pooling, parse_entry(entry).tuners, data or data_of(), "here")


def test_a_rarer_token_weighs_more_and_one_never_seen_most() -> None:
    found = Frequencies(10, np.array([10.0, 5, 2, 0]), np.array([10.0, 5, 1, 0]))
    for method in (Sif(), Sif(a=0.1), Idf(), Idf(power=2.0)):
        weights = method.weigh(found)
        assert (np.diff(weights) > 0).all() and (weights > 0).all()
    assert Sif().weigh(found)[3] == 1
    assert Idf().weigh(found)[0] == 1
    np.testing.assert_allclose(Sif(a=0.5).weigh(found), 0.5 / (0.5 + np.array([10, 5, 2, 0]) / 17))
    np.testing.assert_allclose(Idf().weigh(found), 1 + np.log(11 / np.array([11, 6, 2, 1])))


@pytest.mark.parametrize("entry", ["sif", "idf"])
def test_vectors_are_those_of_sentence_transformers_and_of_numpy(
    entry: str, encoder: HuggingFace, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    data = data_of()
    other = tuned(encoder, tmp_path, entry)
    texts = [*data.texts[:20], "公园公园"]
    ours = other.encoder.encode(texts, ["mean", "native", "cls"])
    library = SentenceTransformer(str(other.encoder.folder.path), device="cpu")
    theirs = library.encode(texts)
    np.testing.assert_allclose(ours["mean"], theirs, atol=2e-5)
    np.testing.assert_allclose(ours["native"], theirs, atol=2e-5)
    np.testing.assert_array_equal(ours["cls"], encoder.encode(texts, ["cls"])["cls"])  # only means have weights
    assert np.abs(ours["mean"] - encoder.encode(texts, ["mean"])["mean"]).max() > 1e-3

    rows = [encoder.tokenizer([t])[0][0] for t in data.texts]
    count: Counter[int] = Counter()
    for row, times in zip(rows, data.counts, strict=True):
        for token in row if entry == "sif" else set(row):
            count[token] += int(times)
    total = sum(count.values()) if entry == "sif" else int(data.counts.sum())
    weigh = (
        (lambda w: 1e-3 / (1e-3 + count[w] / total))
        if entry == "sif"
        else (lambda w: 1 + np.log((1 + total) / (1 + count[w])))
    )
    states = library[0](library.tokenize([texts[0]]))["token_embeddings"][0].detach().numpy()
    weights = np.array([weigh(w) for w in encoder.tokenizer([texts[0]])[0][0]])
    np.testing.assert_allclose(ours["mean"][0], weights @ states / weights.sum(), atol=2e-5)


def test_equal_weights_change_nothing(encoder: HuggingFace, tmp_path: Path) -> None:
    texts = list(data_of().texts[:10])
    same = tuned(encoder, tmp_path, "idf(power=0.0)").encoder
    np.testing.assert_allclose(same.encode(texts, ["mean"])["mean"], encoder.encode(texts, ["mean"])["mean"], atol=1e-6)


def test_weights_texts_and_poolings_are_part_of_every_key(encoder: HuggingFace, tmp_path: Path) -> None:
    made = [
        tuned(encoder, tmp_path / "tuned", entry, pooling, data_of(seed)).encoder
        for entry, pooling, seed in (
            ("sif", "mean", 1),
            ("sif", "mean", 1),  # the same again
            ("sif(a=0.01)", "mean", 1),
            ("idf", "mean", 1),
            ("sif", "mean", 2),
            ("sif", "first-last-mean", 1),
        )
    ]
    assert len(TunedStore(tmp_path / "tuned").folders()) == 5
    keys = {json.dumps(vectors_key(e, "mean"), sort_keys=True) for e in (encoder, *made[:5])}
    assert len(keys) == 5


def test_what_does_not_fit_is_said(encoder: HuggingFace, tmp_path: Path) -> None:
    for entry, says in (
        ("sif(a=0.0)", "positive"),
        ("idf(power=-1.0)", "0..100"),
        ("whitening > sif", "must come before"),
    ):
        with pytest.raises(HengyuError, match=says):
            parse_entry(entry)
    with pytest.raises(ValueError, match="pooling 'cls' is not a mean"):
        tuned(encoder, tmp_path, "sif", "cls")
    with pytest.raises(HengyuError, match="put what trains it first"):
        tuned(encoder, tmp_path, "sif > simcse(sentences=32, batch=16)")
    path = tuned(encoder, tmp_path, "sif").encoder.folder.path
    config = json.loads((path / "1_WordWeights" / "config.json").read_text(encoding="utf-8"))
    (path / "1_WordWeights" / "config.json").write_text(json.dumps(config | {"vocab": config["vocab"][:3]}), "utf-8")
    with pytest.raises(HengyuError, match="only 3 have weights"):
        open_encoder(EncoderSpec(str(path))).encode(["我们"], ["mean"])
    (path / "1_WordWeights" / "config.json").write_text(json.dumps(config | {"word_weights": {"a": -1}}), "utf-8")
    with pytest.raises(HengyuError, match="numbers of at least 0"):
        open_encoder(EncoderSpec(str(path))).encode(["我们"], ["mean"])


def test_a_run_has_rows_of_them_and_says_on_what_they_were_fitted(
    tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_grades(tmp_path)
    (tmp_path / "w.toml").write_text(
        f'tasks = ["grades:test"]\nbaselines = []\nresamples = 50\nencoders = ["{tiny_bert}"]\n'
        'entries = ["sif", { entry = "idf > whitening(dim=8)", fit_on = "train" }]\n',
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["run", "w.toml", "--datasets", ".", "--out", "runs", "--store", "store"])
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "runs" / "records").iterdir()
    rows = {r.entry: r for r in load_run(folder).records if r.metric == "spearman"}
    assert (rows["sif"].fit_on, rows["idf > whitening(dim=8)"].fit_on) == ("target", "train")
    assert len({round(r.value or 0, 6) for r in rows.values()}) == 3


def test_weights_for_some_tokens_alone_pick_tokens_and_are_no_weighted_mean(
    encoder: HuggingFace, tmp_path: Path
) -> None:
    path = tuned(encoder, tmp_path, "sif").encoder.folder.path
    config = json.loads((path / "1_WordWeights" / "config.json").read_text(encoding="utf-8"))
    some = config | {"word_weights": {"[CLS]": 1.0}, "unknown_word_weight": 0.0}  # as exported prompts have it
    (path / "1_WordWeights" / "config.json").write_text(json.dumps(some), encoding="utf-8")
    picking, texts = open_encoder(EncoderSpec(str(path))), ["我们喜欢数学"]
    assert picking.folder.word_weights is None
    found = picking.encode(texts, ["mean", "native", "cls"])
    np.testing.assert_allclose(found["mean"], encoder.encode(texts, ["mean"])["mean"], atol=1e-6)
    np.testing.assert_allclose(found["native"], found["cls"], atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "first-last-mean"])
def test_an_exported_row_keeps_its_weights(pooling: str, encoder: HuggingFace, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    from hengyu.tools.export_model.pooled import pooled

    weighted, texts = tuned(encoder, tmp_path, "idf(power=3.0)", pooling).encoder, list(data_of().texts[:9])
    SentenceTransformer(modules=pooled(weighted, pooling), device="cpu").save(str(tmp_path / "out"))
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(texts)
    np.testing.assert_allclose(weighted.encode(texts, [pooling])[pooling], theirs, atol=2e-5)
