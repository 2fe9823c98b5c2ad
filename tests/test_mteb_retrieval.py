"""Retrieval sets of the field: fetched in mteb's layout from a small fake hub, weighed as mteb weighs them, and back."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import fakehub
from helpers.fakehub import FakeHub
from helpers.words import sentences

from hengyu.base.errors import HengyuError
from hengyu.cards import load_cards, parse_task
from hengyu.cards.card import CollectionCard
from hengyu.cards.collection import load_collection
from hengyu.cards.hub import fetch
from hengyu.cards.mteb_cards import mteb_card
from hengyu.cards.remote import pick_parts
from hengyu.cli import main
from hengyu.encoders import EncoderSpec, open_encoder
from hengyu.report.mteb_references import read_results
from hengyu.storage.records import Run, load_run

NAMES = ("T2", "MMarco", "Du", "Covid", "Cmedqa", "Ecom", "Medical", "Video")
CUTS = {"ndcg@10": ("ndcg", "NDCG@10"), "mrr@10": ("mrr", "MRR@10")} | {
    f"recall@{k}": ("recall", f"Recall@{k}") for k in (1, 10, 100)
}


def parquet(columns: dict[str, list[Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def made(seed: int = 0) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, int]]]:
    """Make documents, queries and judgements of grades 0 to 3; the last query has none above 0."""
    rng = np.random.default_rng(seed)
    texts = list(dict.fromkeys(text for a, b, _ in sentences(rng, 180) for text in (a, b)))
    documents = {f"d{i}": text for i, text in enumerate(texts[:150])}
    queries = {f"q{i}": text for i, text in enumerate(texts[150:180])}
    judged = {
        q: {f"d{d}": int(rng.integers(0, 4)) for d in rng.choice(150, 5, replace=False)} | {f"d{i}": 1}
        for i, q in enumerate(queries)
    }
    judged["q29"] = {"d0": 0}
    return documents, queries, judged


def laid_out(data: tuple[dict[str, str], dict[str, str], dict[str, dict[str, int]]]) -> dict[str, bytes]:
    """Return the files of a repository as mteb writes them."""
    documents, queries, judged = data
    rows = [(q, d, g) for q, found in judged.items() for d, g in found.items()]
    columns = dict(zip(("query-id", "corpus-id", "score"), map(list, zip(*rows, strict=True)), strict=True))
    half = len(documents) // 2
    ids, texts = list(documents), list(documents.values())
    return {
        "README.md": b"---\n---\n",
        "corpus/dev-00000-of-00002.parquet": parquet({"_id": ids[:half], "title": [""] * half, "text": texts[:half]}),
        "corpus/dev-00001-of-00002.parquet": parquet(
            {"_id": ids[half:], "title": [""] * (len(ids) - half), "text": texts[half:]}
        ),
        "queries/dev-00000-of-00001.parquet": parquet({"_id": list(queries), "text": list(queries.values())}),
        "data/dev-00000-of-00001.parquet": parquet(columns),
    }


@pytest.fixture
def served(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    """Serve CovidRetrieval, made up, at its pinned revision."""
    data = made()
    card = load_cards()["CovidRetrieval"]
    assert card.hub is not None
    monkeypatch.setattr(fakehub, "REVISION", card.hub.revision)
    monkeypatch.setattr("hengyu.methods.search.cost._SECONDS", 0.01)
    hub.repositories[card.hub.id] = laid_out(data)
    return data


def test_the_cards_are_those_of_mteb() -> None:
    cards = load_cards()
    for name in NAMES:
        ours, theirs = cards[f"{name}Retrieval"], mteb_card(f"{name}Retrieval")
        assert isinstance(ours, CollectionCard) and isinstance(theirs, CollectionCard)
        assert ours.hub == theirs.hub and ours.exclude == theirs.exclude
        assert list(ours.splits) == list(theirs.splits) == ["dev"]
        assert "not" in ours.terms and "held against" in ours.description
    card, split = parse_task(cards, "mteb:covidretrieval")
    assert (card.name, split) == ("mteb-CovidRetrieval", "dev")


def test_a_set_is_fetched_and_read_back(served: Any, tmp_path: Path) -> None:
    documents, queries, judged = served
    card = load_cards()["CovidRetrieval"]
    assert isinstance(card, CollectionCard)
    early = CliRunner().invoke(main, ["run", "retrieval", "--task", "CovidRetrieval:dev", "--quiet"])
    assert early.exit_code == 2 and "run 'hengyu fetch CovidRetrieval'" in early.stderr
    done = CliRunner().invoke(main, ["fetch", "CovidRetrieval"])
    assert done.exit_code == 0, done.output
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert [p.name for p in paths] == ["dev.corpus.jsonl", "dev.queries.jsonl", "dev.qrels.jsonl"]
    found = load_collection(card, "dev")
    assert found.documents == tuple(documents.values()) and found.queries == tuple(queries.values())[:29]
    rows = [(q, d, g) for q, docs in judged.items() for d, g in docs.items() if q != "q29"]
    assert found.labels.tolist() == [g for _, _, g in rows]
    assert [found.documents[i] for i in found.answers] == [documents[d] for _, d, _ in rows]
    again = CliRunner().invoke(main, ["fetch", "CovidRetrieval"])
    assert "CovidRetrieval:dev is already here" in again.stderr
    here = CliRunner().invoke(main, ["list", "datasets"])
    assert re.search(r"CovidRetrieval +dev +grades +not stated +cached", here.output)
    notes = json.loads((paths[0].parent / "fetch.json").read_bytes())["splits"]
    assert set(notes) == {"dev.corpus", "dev.queries", "dev.qrels"} and len(notes["dev.corpus"]["files"]) == 2
    paths[0].write_bytes(paths[0].read_bytes().replace("，".encode(), "。".encode(), 1) + b"\n")
    with pytest.raises(HengyuError, match="the sha256 is .* run 'hengyu fetch CovidRetrieval' again"):
        load_collection(card, "dev")


def test_what_is_amiss_in_a_repository_is_one_sentence(served: Any, hub: FakeHub) -> None:
    card = load_cards()["CovidRetrieval"]
    files = hub.repositories["mteb/CovidRetrieval"]
    whole = dict(files)
    files["data/dev-00000-of-00001.parquet"] = parquet({"query-id": ["q1"], "corpus-id": ["d999"], "score": [1]})
    with pytest.raises(HengyuError, match=r"data/dev.*row 1: the document must be an existing id, not 'd999'"):
        fetch(card)
    shutil.rmtree(fakehub_cache())
    del files["data/dev-00000-of-00001.parquet"]
    with pytest.raises(HengyuError, match="has no files of 'qrels' for a split 'dev'"):
        fetch(card)
    files |= whole


def fakehub_cache() -> str:
    """Return where downloads are kept, which a test may empty."""
    from huggingface_hub import constants

    return constants.HF_HUB_CACHE


def test_the_files_of_beir_are_found_too() -> None:
    files = ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "qrels/train.tsv", "README.md"]
    assert pick_parts(files, "test", "", "x") == {
        "corpus": ["corpus.jsonl"], "queries": ["queries.jsonl"], "qrels": ["qrels/test.tsv"]
    }  # fmt: skip


def weighed(word: str) -> Run:
    done = CliRunner().invoke(main, ["fetch", word])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(main, ["run", "retrieval", "--task", f"{word}:dev", "--entry", "flat", "--quiet"])
    assert done.exit_code == 0, done.output
    return load_run(Path(done.output.split("records: ")[1].splitlines()[0]))


@pytest.mark.parametrize("word", ["CovidRetrieval", "mteb:CovidRetrieval"])
def test_numbers_are_those_of_mteb_and_go_there_and_back(served: Any, tmp_path: Path, word: str) -> None:
    from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores

    documents, queries, judged = served
    run = weighed(word)
    model = open_encoder(EncoderSpec("hengyu-mini"))
    a, b = (model.encode(list(t.values()), ["mean"])["mean"].astype(np.float64) for t in (queries, documents))
    cosine = (a @ b.T) / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
    results = {
        q: {d: float(c) for d, c in zip(documents, row, strict=True)}
        for q, row in zip(queries, cosine, strict=True)
        if q != "q29"  # mteb leaves out queries without a relevant document
    }
    theirs = calculate_retrieval_scores(results, {q: judged[q] for q in results}, [1, 10, 100])
    for ours, (attribute, key) in CUTS.items():
        record = next(r for r in run.records if r.metric == ours and r.on_board)
        # pytrec_eval rounds to five digits nothing; mteb rounds the mean to five
        assert record.value == pytest.approx(dict(getattr(theirs, attribute))[key], abs=1.1e-5), ours
    out = tmp_path / "out"
    done = CliRunner().invoke(main, ["export", str(run.path), "--format", "mteb", "--out", str(out)])
    assert done.exit_code == 0, done.output
    for path in list(out.rglob("CovidRetrieval.json")):  # bm25 and tfidf are rows of every retrieval suite, too
        if json.loads((path.parent / "model_meta.json").read_bytes())["row"]["encoder"] == "lexical":
            shutil.rmtree(path.parent)
    (path,) = out.rglob("CovidRetrieval.json")
    (scores,) = json.loads(path.read_bytes())["scores"]["dev"]
    flat = {r.metric: r.value for r in run.records if r.on_board and r.entry == "flat"}
    assert scores["ndcg_at_10"] == scores["main_score"] == flat["ndcg@10"]
    assert scores["mrr_at_10"] == flat["mrr@10"] and scores["recall_at_100"] == flat["recall@100"]
    (reference,) = read_results(out)
    assert (reference.task, reference.metric, reference.value) == ("CovidRetrieval:dev", "ndcg@10", flat["ndcg@10"])
    beside = CliRunner().invoke(main, ["reference", str(run.path), str(out), "--out", str(tmp_path / "r")])
    if word == "CovidRetrieval":
        assert beside.exit_code == 0, beside.output
        both = load_run(next((tmp_path / "r" / "records").iterdir()))
        (row,) = (r for r in both.records if r.encoder.endswith("(mteb)"))
        assert (row.metric, row.value, row.entry, row.n) == ("ndcg@10", flat["ndcg@10"], "flat", 29)


def test_sentences_that_ask_for_each_other_are_no_task_of_mteb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hengyu.methods.search.cost._SECONDS", 0.01)
    done = CliRunner().invoke(main, ["run", "retrieval", "--task", "hengyu-sts:valid", "--entry", "flat", "--quiet"])
    assert done.exit_code == 0, done.output
    refused = CliRunner().invoke(main, ["export", "latest", "--format", "mteb", "--out", str(tmp_path)])
    assert refused.exit_code == 2 and "on a task of mteb" in refused.stderr
