"""Search by a cross-encoder: exhaustive, behind BM25, and by the CUR approximation of its score matrix; calls are counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.words import save_grades

from hengyu.base.errors import HengyuError
from hengyu.bench.run import run
from hengyu.cli import main
from hengyu.encoders import EncoderSpec
from hengyu.encoders.cross import open_cross_encoder
from hengyu.methods.grammar import parse_entry
from hengyu.methods.lexical import cur
from hengyu.methods.lexical.cross_flat import CrossFlat
from hengyu.methods.lexical.cross_rerank import CrossRerank
from hengyu.methods.lexical.cur import Cur
from hengyu.methods.search import scored
from hengyu.methods.search.cost import queries_once
from hengyu.numerics.cur import cur_factor
from hengyu.storage.records import load_run
from hengyu.storage.vectors import VectorStore
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite

TEXTS = [f"第{i}个句子{'天地人和'[i % 4]}" for i in range(40)]
PLACES = {text: i for i, text in enumerate(TEXTS)}


def matrix(rank: int, seed: int = 0) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(40, rank)) @ rng.normal(size=(rank, 40))


def scoring(kind: type, scores: np.ndarray[Any, Any]) -> type:
    """Return a method whose cross-encoder is a matrix of scores."""

    @dataclass
    class Given(kind):  # type: ignore[misc, valid-type]
        def score(self, first: Any, second: Any) -> Any:
            return scores[[PLACES[a] for a in first], [PLACES[b] for b in second]]

    return Given


# laws -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rank", "anchors", "queries"), [(3, 3, 3), (5, 8, 20), (8, 20, 8)])
def test_it_is_exact_where_the_rank_is_no_more_than_the_anchors(rank: int, anchors: int, queries: int) -> None:
    s = matrix(rank)
    rng = np.random.default_rng(1)
    columns, rows = rng.permutation(40)[:anchors], rng.permutation(40)[:queries]
    x = cur_factor(s[rows], columns)
    np.testing.assert_allclose(s[:, columns] @ x, s, atol=1e-8)
    exact = scoring(CrossFlat, s)(model="m").build(TEXTS)
    near = scoring(Cur, s)(model="m", anchors=anchors, queries=queries, rcond=1e-9).build(TEXTS)
    np.testing.assert_array_equal(near.search(TEXTS[:9], 10)[0], exact.search(TEXTS[:9], 10)[0])
    assert (near.calls_per_query, exact.calls_per_query) == (anchors, 40)


def test_it_is_numpys_own_product() -> None:
    s = matrix(30)
    rows, columns = np.arange(3, 23), np.arange(0, 40, 4)
    c, u, r = s[:, columns], np.linalg.pinv(s[np.ix_(rows, columns)]), s[rows]
    np.testing.assert_allclose(c @ cur_factor(s[rows], columns), c @ u @ r, atol=1e-9)
    cut = np.linalg.pinv(s[np.ix_(rows, columns)], rcond=0.3)
    np.testing.assert_allclose(cur_factor(s[rows], columns, 0.3), cut @ r, atol=1e-9)


def test_reranking_everything_is_exhaustive_and_costs_no_more() -> None:
    s = matrix(30)
    exact = scoring(CrossFlat, s)(model="m").build(TEXTS)
    wanted, values = exact.search(TEXTS, 10)
    near = scoring(Cur, s)(model="m", anchors=6, queries=12, rerank=40).build(TEXTS)
    found, scores = near.search(TEXTS, 10)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_allclose(scores, values, atol=1e-4)
    assert near.calls_per_query == 40  # anchors are not scored again


def test_reranking_some_orders_the_nearest_and_leaves_the_others() -> None:
    s = matrix(30)
    wanted = scoring(CrossFlat, s)(model="m").build(TEXTS).search(TEXTS, 5)[0]
    plain = scoring(Cur, s)(model="m", anchors=6, queries=12).build(TEXTS)
    some = scoring(Cur, s)(model="m", anchors=6, queries=12, rerank=10).build(TEXTS)
    about, found = plain.search(TEXTS, 15)[0], some.search(TEXTS, 15)[0]
    assert 10 <= some.calls_per_query <= 16 and plain.calls_per_query == 6
    for i, (before, after) in enumerate(zip(about, found, strict=True)):
        assert after[:10].tolist() == sorted(before[:10], key=lambda d: -s[i, d])
        assert after[10:].tolist() == before[10:].tolist()
    shared = [np.mean([len(set(a[:5]) & set(b)) for a, b in zip(ids, wanted, strict=True)]) for ids in (about, found)]
    assert shared[0] + 0.5 < shared[1] < 5


def test_anchors_follow_the_seed_and_the_first_stage_bounds_reranking() -> None:
    s = matrix(30)
    one, two = (scoring(Cur, s)(model="m", anchors=6, queries=12, seed=k).build(TEXTS) for k in (0, 1))
    assert (one.search(TEXTS, 5)[0] != two.search(TEXTS, 5)[0]).any()
    behind = scoring(CrossRerank, s)(model="m", depth=5).build(TEXTS)
    ids, scores = behind.search(TEXTS[:3], 20)
    first = behind._stage.search(TEXTS[:3], 20)[0]
    for row, values, before in zip(ids, scores, first, strict=True):
        assert set(row[:5]) == set(before[:5]) and row[5:].tolist() == before[5:].tolist()
        assert (np.diff(values) < 0).all()
    assert behind.calls_per_query == 5 and behind.size() > 0
    every = scoring(CrossRerank, s)(model="m", depth=40).build(TEXTS)
    exact = scoring(CrossFlat, s)(model="m").build(TEXTS)
    np.testing.assert_array_equal(every.search(TEXTS[:3], 10)[0], exact.search(TEXTS[:3], 10)[0])


@pytest.mark.parametrize("key", ["anchors", "queries"])
def test_more_anchors_than_documents_are_refused(key: str) -> None:
    method = Cur(model="m", **{"anchors": 8, "queries": 8, key: 41})
    with pytest.raises(ValueError, match=rf"^cur\({key}=41\) exceeds the 40 documents; lower {key}$"):
        method.build(TEXTS)


def test_pairs_are_scored_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more pairs than a piece are tokenised at a time, nor listed, unless the documents are more."""
    s, listed, tokenised = matrix(6), [], []

    @dataclass
    class Counted(Cur):
        def score(self, first: Any, second: Any) -> Any:
            listed.append(len(first))
            return super().score(first, second)

    class Model:
        gives_probabilities = False

        def stream(self, first: Any, second: Any) -> Any:
            tokenised.append(len(first))
            yield np.arange(len(first)), s[[PLACES[a] for a in first], [PLACES[b] for b in second]]

    monkeypatch.setattr(Cur, "_open", lambda self: Model())
    whole = Counted(model="m", anchors=8, queries=30).build(TEXTS)
    assert listed == tokenised == [1200]
    listed.clear()
    tokenised.clear()
    monkeypatch.setattr(scored, "CHUNK", 100)
    monkeypatch.setattr(cur, "CHUNK", 100)
    parts = Counted(model="m", anchors=8, queries=30).build(TEXTS)
    assert listed == tokenised == [80] * 15
    np.testing.assert_array_equal(parts._factor, whole._factor)
    monkeypatch.setattr(scored, "CHUNK", 30)
    assert parts.search(TEXTS[:1], 40)[0].shape == (1, 40) and tokenised[15:] == [8]
    flat = CrossFlat(model="m").build(TEXTS)
    flat._opened = Model()
    flat.search(TEXTS[:1], 3)
    assert tokenised[16:] == [30, 10]


def test_a_costly_search_is_asked_once() -> None:
    made = scoring(CrossFlat, matrix(4))(model="m").build(TEXTS)
    ids, rates = queries_once(made, TEXTS[:6], 3)
    assert ids.shape == (6, 3) and list(rates) == ["qps"] and (made.calls, made.asked) == (240, 6)


# in a suite -----------------------------------------------------------------------------------------------------------


def test_a_trained_row_is_exported_and_searched_by(tmp_path: Path, tiny_bert: Path) -> None:
    save_grades(tmp_path)
    text = f"""
name = "s"
tasks = ["grades:test"]
encoders = [{str(tiny_bert)!r}]
poolings = ["cls"]
fit_on = "train"
resamples = 20
baselines = []
entries = ["raw", "cross-encoder(lr=1e-3, epochs=1)"]
"""
    (tmp_path / "s.toml").write_text(text, encoding="utf-8")
    store = VectorStore(tmp_path / "cache" / "vectors")
    plan = make_plan(load_suite(tmp_path / "s.toml"), datasets=[tmp_path])
    outcome = run(plan, reports=tmp_path, store=store)
    folder = tmp_path / "reranker"
    asked = ["export-model", str(outcome.folder), "--row", "cross-encoder(lr=0.001, epochs=1)"]
    asked += ["--datasets", str(tmp_path), "--out", str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HENGYU_CACHE", str(tmp_path / "cache"))
        done = CliRunner().invoke(main, asked)
    assert done.exit_code == 0, done.output
    assert "give it with --cross-encoder" in done.stderr and "largest error" in done.stderr
    assert "CrossEncoder" in (folder / "README.md").read_text(encoding="utf-8")
    opened = open_cross_encoder(EncoderSpec(str(folder)))
    assert opened.gives_probabilities
    of_run = next(
        r.value
        for r in load_run(outcome.folder).records
        if r.entry.startswith("cross-encoder") and r.task == "grades:test" and r.metric == "spearman"
    )
    assert of_run is not None and f"{100 * of_run:.2f}" in done.stderr
    (tmp_path / "r.toml").write_text(
        f"""
name = "r"
kind = "retrieval"
relevant = 4
tasks = ["grades:valid"]
encoders = ["hengyu-static"]
resamples = 20
baselines = ['cur(model="{folder}", anchors=4, queries=6, rerank=4)']
entries = ["flat", 'cross-rerank(model="{folder}", depth=8)']
compare = [['cur(model="{folder}", anchors=4, queries=6, rerank=4)', 'cross-rerank(model="{folder}", depth=8)']]
""",
        encoding="utf-8",
    )
    plan = make_plan(load_suite(tmp_path / "r.toml"), datasets=[tmp_path])
    outcome = run(plan, reports=tmp_path, store=store)
    assert not outcome.failures
    found = load_run(outcome.folder)
    calls = {r.entry.partition("(")[0]: r.value for r in found.records if r.metric == "calls"}
    assert calls["cross-rerank"] == 8 and 4 <= (calls["cur"] or 0) <= 8
    assert {r.metric for r in found.records if r.entry.startswith("cur")} >= {"ndcg@10", "qps", "calls"}
    (between,) = [d for d in found.differences if d.task == "grades:valid"]
    assert between.low <= between.value <= between.high
    again = run(plan, reports=tmp_path, store=store)
    assert again.observed == 0


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("cur", r"cur\(model=\) is empty; give a cross-encoder's folder"),
        ("cur(model=m, anchors=0)", "anchors=0.* must be at least 1"),
        ("cur(model=m, rcond=2)", "must lie in 0..1"),
        ("cross-rerank(model=m, first=lsh)", "must be bm25 or tfidf"),
        ("cross-rerank(model=m, depth=0)", "must lie in 1..10000"),
        ("whitening > cur(model=m)", "searches texts, so nothing can come before it"),
    ],
)
def test_what_it_cannot_be_is_said(entry: str, said: str) -> None:
    with pytest.raises(HengyuError, match=said) as caught:
        parse_entry(entry)
    assert len(caught.value.problems) == 1


def test_a_model_that_is_none_is_refused_before_the_run(tiny_bert: Path) -> None:
    missing = (
        "cross-flat(model=nofolder): cross-encoder 'nofolder': is neither a folder nor in the local hub cache, and none is "
        "downloaded for a search; download it first, or give the model's folder"
    )
    for model, said in (("nofolder", missing), ("no/where", "no/where"), (str(tiny_bert), "is not a cross-encoder")):
        entry = f'cross-flat(model="{model}")'
        done = CliRunner().invoke(main, ["run", "smoke-retrieval", "--entry", entry, "--quiet"])
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1) and said in done.stderr, done.output


def test_a_model_in_a_suite_counts_from_its_folder_if_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "reranker").mkdir()
    entry = parse_entry("rrf(flat, cross-flat(model=reranker))").from_folder(tmp_path)
    assert str(entry) == f'rrf(flat, cross-flat(model="{tmp_path}/reranker"))'
    for model, wanted in (
        ("bge", "bge"),
        ('"BAAI/bge"', '"BAAI/bge"'),
        ('"./bge"', f'"{tmp_path}/bge"'),
        (f'"{tmp_path}/bge"', f'"{tmp_path}/bge"'),
    ):
        placed = parse_entry(f"cross-rerank(model={model}, depth=8)").from_folder(tmp_path)
        assert str(placed) == f"cross-rerank(model={wanted}, depth=8)"
    (tmp_path / "vectors.npy").touch()
    for written, wanted in (
        ("distill(teacher=reranker)", f'distill(teacher="{tmp_path}/reranker")'),
        ("distill(teacher=vectors.npy)", f'distill(teacher="{tmp_path}/vectors.npy")'),
        ("distill(teacher=hengyu-mini)", "distill(teacher=hengyu-mini)"),
        ("matryoshka(gist(guide=reranker))", f'matryoshka(gist(guide="{tmp_path}/reranker"))'),
    ):
        assert str(parse_entry(written).from_folder(tmp_path)) == wanted
