"""Pair classification and reranking as mteb judges them: on the same data and vectors, the same numbers to 1e-4."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.mtebmodel import Ours, judged_by_mteb
from helpers.words import sentences

import hengyu
from hengyu.base.errors import HengyuError
from hengyu.cards import load_cards
from hengyu.cards.remote import pick_parts
from hengyu.cli import main
from hengyu.storage.records import Run, find_run, load_run
from hengyu.tasks import find_task
from hengyu.tasks.reranking import ranking_scores

QUERIES, EACH = 12, 8
PAIRS_CARD = """
name = "{name}"
labels = {{ scale = [0, 1], kind = "binary" }}
[splits.valid]
file = "pairs.tsv"
"""
SEARCH_CARD = """
name = "T2Reranking-here"
kind = "retrieval"
[splits.dev]
corpus = "corpus.jsonl"
queries = "queries.jsonl"
qrels = "qrels.tsv"
"""
SUITE = """
kind = "{kind}"
tasks = ["{task}"]
resamples = 100
entries = ["raw", "whitening(dim=16)"]
"""


class Data:
    """Pairs of two classes, and queries with candidates, of the same sentences."""

    def __init__(self) -> None:
        every = sentences(np.random.default_rng(4), 3 * QUERIES * EACH)
        # no candidate occurs twice: where two are tied, mteb's order follows from their ids
        self.rows = list({row[1]: row for row in {row[0]: row for row in every}.values()}.values())[: QUERIES * EACH]
        self.labels = [int(y > 2) for *_, y in self.rows]
        self.documents = {f"d{i}": b for i, (_, b, _) in enumerate(self.rows)}
        self.queries = {f"q{i}": self.rows[i * EACH][0] for i in range(QUERIES)}
        # the first and another one of each query are relevant
        self.judged = {
            f"q{i}": {f"d{i * EACH + j}": int(j in (0, 1 + i % (EACH - 1))) for j in range(EACH)}
            for i in range(QUERIES)
        }

    def write(self, folder: Path) -> None:
        lines = [f"{a}\t{b}\t{y}" for (a, b, _), y in zip(self.rows, self.labels, strict=True)]
        (folder / "pairs.tsv").write_text("\n".join(["sentence1\tsentence2\tlabel", *lines]), encoding="utf-8")
        (folder / "pairs.toml").write_text(PAIRS_CARD.format(name="Ocnli-here"), encoding="utf-8")
        (folder / "search.toml").write_text(SEARCH_CARD, encoding="utf-8")
        for name, texts in (("corpus", self.documents), ("queries", self.queries)):
            rows = [json.dumps({"_id": k, "text": v}, ensure_ascii=False) for k, v in texts.items()]
            (folder / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")
        rows = [f"{q}\t{d}\t{g}" for q, found in self.judged.items() for d, g in found.items()]
        (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]), encoding="utf-8")


@pytest.fixture(scope="module")
def data() -> Data:
    return Data()


@pytest.fixture(scope="module")
def home(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("pairs")
    data.write(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HENGYU_CACHE", str(root / "cache"))
        patch.setenv("HENGYU_REPORTS", str(root / "reports"))
        yield root


def finished(home: Path, kind: str, task: str) -> Run:
    suite = home / f"{kind}.toml"
    suite.write_text(SUITE.format(kind=kind, task=task), encoding="utf-8")
    done = CliRunner().invoke(main, ["run", str(suite), "--datasets", str(home), "--quiet"])
    suite.unlink()
    assert done.exit_code == 0, done.output
    return load_run(find_run("latest", home / "reports"))


@pytest.fixture(scope="module")
def classified(home: Path) -> Run:
    return finished(home, "pair-classification", "Ocnli-here:valid")


@pytest.fixture(scope="module")
def reranked(home: Path) -> Run:
    return finished(home, "reranking", "T2Reranking-here:dev")


def numbers(run: Run, encoder: str = "hengyu-mini", entry: str = "raw") -> dict[str, Any]:
    return {r.metric: r for r in run.records if (r.encoder, r.entry) == (encoder, entry) and r.task != "mean"}


def test_pair_classification_is_judged_as_by_mteb(data: Data, classified: Run) -> None:
    from datasets import Dataset

    columns = {"sentence1": [a for a, _, _ in data.rows], "sentence2": [b for _, b, _ in data.rows]}
    theirs = judged_by_mteb("Ocnli", "validation", Dataset.from_dict({**columns, "labels": data.labels}))
    ours = numbers(classified)
    assert theirs["max_ap"] > theirs["cosine_ap"]  # or the maximum would not be tried
    for name, metric in (("cosine", ""), ("max", "max-")):
        for word in ("ap", "f1", "accuracy"):
            assert ours[f"{metric}{word}"].value == pytest.approx(theirs[f"{name}_{word}"], abs=1e-4), (name, word)
    assert ours["ap"].threshold is None and ours["f1"].threshold is not None
    assert all(r.low <= r.value <= r.high for r in ours.values())
    assert ours["max-ap"].interval == ours["ap"].interval == "logit"
    # the lexical baselines leave no vectors, so the cosine is the only measure
    assert numbers(classified, "tfidf")["max-ap"].value == numbers(classified, "tfidf")["ap"].value


def test_reranking_is_judged_as_by_mteb(data: Data, reranked: Run) -> None:
    from datasets import Dataset

    corpus = {"id": list(data.documents), "text": list(data.documents.values()), "title": [""] * len(data.documents)}
    theirs = judged_by_mteb(
        "T2Reranking",
        "dev",
        {
            "corpus": Dataset.from_dict(corpus),
            "queries": Dataset.from_dict({"id": list(data.queries), "text": list(data.queries.values())}),
            "relevant_docs": data.judged,
            "top_ranked": {q: list(found) for q, found in data.judged.items()},
        },
    )
    ours = numbers(reranked)
    assert ours["map@1000"].value == pytest.approx(theirs["map_at_1000"], abs=1e-4)
    assert ours["mrr@10"].value == pytest.approx(theirs["mrr_at_10"], abs=1e-4)
    assert 0.2 < ours["map@1000"].value < 0.99 and ours["map@1000"].n == QUERIES
    assert ours["map@1000"].low < ours["map@1000"].value < ours["map@1000"].high
    about = reranked.header["tasks"][0]
    assert (about["queries"], about["candidates"], about["relevant"]) == (QUERIES, QUERIES * EACH, 2 * QUERIES)


def test_both_kinds_are_compared_gated_exported_and_shown(home: Path, classified: Run, reranked: Run) -> None:
    for run, metric, theirs in ((classified, "ap", "max_accuracy"), (reranked, "map@1000", "map_at_1000")):
        out = home / f"mteb-{run.kind}"
        done = CliRunner().invoke(main, ["export", str(run.path), "--format", "mteb", "--out", str(out)])
        assert done.exit_code == 0, done.output
        scores = [next(iter(json.loads(p.read_bytes())["scores"].values()))[0] for p in out.rglob("*here.json")]
        assert scores and all(s["main_score"] == s[theirs] for s in scores)
        baseline = home / f"{run.kind}.json"
        assert CliRunner().invoke(main, ["baseline", str(run.path), "--out", str(baseline)]).exit_code == 0
        done = CliRunner().invoke(main, ["gate", str(baseline), str(run.path)])
        assert done.exit_code == 0 and "the same number as in the baseline" in done.output, done.output
        done = CliRunner().invoke(main, ["compare", str(run.path), "--entry", "whitening(dim=16)", "--entry", "raw"])
        assert done.exit_code == 0 and find_task(run.kind).titles()[metric] in done.output, done.output
        assert (home / "reports" / "site" / run.id / "index.html").is_file()


def test_a_tie_never_helps_a_ranking() -> None:
    query = np.array([0, 0, 0, 1, 1, 1, 1])
    hits = np.array([True, False, False, False, True, False, True])
    tied = ranking_scores(np.zeros(7), hits, query)
    assert tied["map@1000"].tolist() == pytest.approx([1 / 3, (1 / 3 + 2 / 4) / 2])
    assert tied["mrr@10"].tolist() == pytest.approx([1 / 3, 1 / 3])
    ordered = ranking_scores(np.array([0.9, 0.1, 0.2, 0.1, 0.8, 0.3, 0.2]), hits, query)
    assert ordered["map@1000"].tolist() == pytest.approx([1.0, (1 + 2 / 3) / 2])


def test_ranks_are_cut_where_mteb_cuts_them() -> None:
    similarity = -np.arange(1012.0)
    hits = np.zeros(1012, bool)
    hits[[10, 1005]] = True
    found = ranking_scores(similarity, hits, np.zeros(1012, np.int64))
    assert found["mrr@10"].tolist() == [0.0] and found["map@1000"].tolist() == pytest.approx([(1 / 11) / 2])


@pytest.mark.parametrize(
    ("kind", "lines", "says"),
    [
        (
            "reranking",
            ["问\t答\t1", "问\t不是\t0", "再问\t不是\t0"],
            "1 of 2 queries have no relevant candidate, like '再问'",
        ),
        (
            "pair-classification",
            ["一\t二\t4", "三\t四\t1"],
            "its labels are graded, and pair classification needs 0 and 1",
        ),
        ("reranking", ["一\t二\t4", "三\t四\t1"], "say from which on a candidate is relevant, like relevant = 4"),
    ],
)
def test_data_that_do_not_fit_are_refused(tmp_path: Path, kind: str, lines: list[str], says: str) -> None:
    graded = any(line.endswith("4") for line in lines)
    labels = "labels = { scale = [0, 5] }" if graded else 'labels = { scale = [0, 1], kind = "binary" }'
    (tmp_path / "x.tsv").write_text("\n".join(["sentence1\tsentence2\tlabel", *lines]), encoding="utf-8")
    (tmp_path / "x.toml").write_text(f'name = "x"\n{labels}\n[splits.test]\nfile = "x.tsv"\n', encoding="utf-8")
    suite = tmp_path / "suites" / "s.toml"
    suite.parent.mkdir()
    suite.write_text(SUITE.format(kind=kind, task="x:test"), encoding="utf-8")
    done = CliRunner().invoke(main, ["run", str(suite), "--datasets", str(tmp_path), "--quiet"])
    assert done.exit_code == 2 and says in done.output and "Traceback" not in done.output


@pytest.mark.parametrize(
    ("card", "task"),
    [("AFQMC:valid", "AFQMC"), ("QBQTC:test", "QBQTC"), ("STS22-zh:test", "STS22.v2"),
     ("STSB-multi-mt-zh:test", "STSBenchmarkMultilingualSTS")],
)  # fmt: skip
def test_sts_cards_are_those_of_mteb_and_judged_alike(data: Data, card: str, task: str) -> None:
    import mteb
    from datasets import Dataset

    name, _, split = card.partition(":")
    ours, theirs = load_cards()[name], mteb.get_task(task)
    assert ours.hub is not None
    assert (ours.hub.id, ours.hub.revision) == (theirs.metadata.dataset["path"], theirs.metadata.dataset["revision"])
    assert ours.scale == (theirs.min_score, theirs.max_score)
    hub_split = ours.splits[split].hub
    assert hub_split in theirs.metadata.eval_splits
    low, high = ours.scale
    labels = np.array([y for *_, y in data.rows]) / 5 * (high - low) + low
    labels = np.rint(labels) if ours.binary else labels
    first, second = [a for a, _, _ in data.rows], [b for _, b, _ in data.rows]
    columns = {"sentence1": first, "sentence2": second, "score": labels.tolist()}
    found = judged_by_mteb(task, hub_split, Dataset.from_dict(columns))
    a, b = (Ours().encode([{"text": texts}]) for texts in (first, second))
    assert hengyu.score(a, b, labels, resamples=10).spearman == pytest.approx(found["cosine_spearman"], abs=1e-4)


def test_the_cards_are_at_the_revisions_of_mteb() -> None:
    import mteb

    cards = load_cards()
    for name in ("Ocnli", "Cmnli", "T2Reranking", "MMarcoReranking", "CMedQAv1-reranking", "CMedQAv2-reranking"):
        about, hub = mteb.get_task(name).metadata, cards[name].hub
        assert hub is not None and (hub.id, hub.revision) == (about.dataset["path"], about.dataset["revision"])
        split = next(iter(cards[name].splits.values()))
        assert [split.hub] == about.eval_splits


def test_lists_of_candidates_are_no_judgements() -> None:
    files = ["corpus/dev-0.parquet", "queries/dev-0.parquet", "data/dev-0.parquet", "top_ranked/dev-0.parquet"]
    assert pick_parts(files, "dev", "", "x")["qrels"] == ["data/dev-0.parquet"]
    with pytest.raises(HengyuError):
        pick_parts(files[:2] + files[3:], "dev", "", "x")
