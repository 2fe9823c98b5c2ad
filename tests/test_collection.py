"""Retrieval data of one's own: files to documents, queries and grades, every mistake in one sentence, numbers by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hengyu.base.errors import HengyuError
from hengyu.cards import load_card, load_cards
from hengyu.cards.card import CollectionCard
from hengyu.cards.collection import load_collection
from hengyu.cards.relevance import Relevance
from hengyu.cli import main
from hengyu.storage.records import load_run
from hengyu.suites.planning import make_plan
from hengyu.suites.suite import load_suite
from hengyu.tasks.interface.data import SearchData
from hengyu.tasks.retrieval import Retrieval
from hengyu.tasks.search.ranking import scores

CORPUS = [
    ("d1", "", "登录密码可以在设置里修改"),
    ("d2", "发货", "下单后两天内发货"),
    ("d3", "", "发票在订单页申请"),
    ("d4", "", "订单发出前都可以取消"),
    ("d5", "", "退款三天到账"),
]
QUERIES = [("q1", "怎么改密码"), ("q2", "几天能发货"), ("q3", "怎么退钱"), ("q4", "没有人回答的问题")]
QRELS = [("q1", "d1", 2), ("q2", "d2", 1), ("q2", "d4", 2), ("q3", "d5", 1), ("q3", "d1", 0)]
CARD = 'name = "mine"\nkind = "retrieval"\n{more}\n[splits.test]\ncorpus = "{c}"\nqueries = "{q}"\nqrels = "{r}"\n'


def card_of(
    folder: Path, more: str = "", names: tuple[str, str, str] = ("c.jsonl", "q.jsonl", "r.tsv")
) -> CollectionCard:
    text = CARD.format(more=more, **dict(zip("cqr", names, strict=True)))
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    card = load_card(folder / "mine.toml")
    assert isinstance(card, CollectionCard)
    return card


def jsonl(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write the files as BEIR has them."""
    documents = [{"_id": i, "title": t, "text": x} for i, t, x in CORPUS]
    (tmp_path / "c.jsonl").write_text(jsonl(documents), encoding="utf-8")
    (tmp_path / "q.jsonl").write_text(jsonl([{"_id": i, "text": x} for i, x in QUERIES]), encoding="utf-8")
    lines = "".join(f"{q}\t{d}\t{g}\n" for q, d, g in QRELS)
    (tmp_path / "r.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines, encoding="utf-8")
    return tmp_path


def test_files_of_every_format_say_the_same(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = load_collection(card_of(folder), "test")
    assert found.documents == ("登录密码可以在设置里修改", "发货 下单后两天内发货", *(x for _, _, x in CORPUS[2:]))
    assert found.queries == tuple(x for _, x in QUERIES[:3])
    assert found.asked.tolist() == [0, 1, 1, 2, 2] and found.answers.tolist() == [0, 1, 3, 4, 0]
    assert found.labels.tolist() == [2, 1, 2, 1, 0] and found.own.tolist() == [-1, -1, -1]
    assert found.notes == ("mine:test: 1 of 4 queries have no judgement and are left out",)

    (folder / "c.csv").write_text("id,title,text\n" + "".join(f"{i},{t},{x}\n" for i, t, x in CORPUS), encoding="utf-8")
    columns = dict(zip(("qid", "pid", "grade"), map(list, zip(*QRELS, strict=True)), strict=True))
    pq.write_table(pa.table(columns), folder / "r.parquet")
    (folder / "q.tsv").write_text("_id\ttext\n" + "".join(f"{i}\t{x}\n" for i, x in QUERIES), encoding="utf-8")
    names = ("c.csv", "q.tsv", "r.parquet")
    other = load_collection(
        card_of(folder, 'columns = { query = "qid", document = "pid", grade = "grade" }', names), "test"
    )
    for name in ("documents", "queries", "first", "second", "notes"):
        assert getattr(other, name) == getattr(found, name)
    assert np.array_equal(other.labels, found.labels) and other.sha256 != found.sha256


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("c.jsonl", '{"_id": "d1", "text": "又一个"}', "line 6: ids must be unique, not 'd1'"),
        ("c.jsonl", '{"_id": "d9", "text": " "}', 'line 6: a text must not be empty; .*malformed = "drop"'),
        ("c.jsonl", '{"_id": "d9", "text": 3}', "line 6: a sentence must be text, not 3"),
        ("c.jsonl", '{"_id": "", "text": "空"}', "line 6: an id must be text or a whole number, and not empty"),
        ("c.jsonl", '{"_id": "d9", "title": 7, "text": "题"}', "line 6: a title must be text.*not 7"),
        ("c.jsonl", '{"_id": "d9"}', "line 6 has no key 'text'"),
        ("c.jsonl", '{"text": "无名"}', "line 6 has no key '_id'"),
        ("q.jsonl", '{"_id": "q1", "text": "又一个"}', "line 5: ids must be unique, not 'q1'"),
        ("r.tsv", "q9\td1\t1", "line 7: the query must be an existing id, not 'q9', which no line has"),
        ("r.tsv", "q1\td9\t1", "line 7: the document must be an existing id, not 'd9'"),
        ("r.tsv", "q1\td1\t2", "line 7: a pair of query and document must be judged once"),
        ("r.tsv", "q1\td1\t1", "line 7: a pair must have only one grade, not 1 after 2"),
        ("r.tsv", "q1\td2\tnan", "line 7: the grade must be finite"),
        ("r.tsv", "q1\td2\tgood", "line 7: the grade must be a number, not 'good'"),
        ("r.tsv", "q1\td2", "line 7: a line must have 3 fields between tabs, not 2"),
    ],
)
def test_a_mistake_is_one_sentence_with_file_and_line(folder: Path, file: str, line: str, said: str) -> None:
    with (folder / file).open("a", encoding="utf-8") as out:
        out.write(line + "\n")
    with pytest.raises(HengyuError) as caught:
        load_collection(card_of(folder), "test")
    (problem,) = caught.value.problems
    assert problem.startswith(str(folder / file))
    assert re.search(said, problem), problem


def test_what_a_card_lets_drop_is_dropped_and_counted(folder: Path) -> None:
    with (folder / "c.jsonl").open("a", encoding="utf-8") as out:
        out.write('{"_id": "d9", "text": ""}\n')
    with (folder / "r.tsv").open("a", encoding="utf-8") as out:
        out.write("q1\td9\t1\nq1\td8\t1\nq1\td1\t2\n")
    found = load_collection(card_of(folder, 'malformed = "drop"'), "test")
    assert len(found.documents) == 5 and found.labels.tolist() == [2, 1, 2, 1, 0]
    assert found.notes[:2] == (
        "mine:test: 1 lines of c.jsonl left out (line 6)",
        "mine:test: 3 lines of r.tsv left out (lines 7, 8 and 9)",
    )


@pytest.mark.parametrize("rows", ["", "q1\td1\t0\n"])
def test_nothing_to_ask_for_is_refused(folder: Path, rows: str) -> None:
    (folder / "r.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows, encoding="utf-8")
    with pytest.raises(HengyuError, match="no judgement has a grade above 0"):
        load_collection(card_of(folder), "test")


def test_a_query_finds_itself_unless_the_card_says_otherwise(folder: Path) -> None:
    (folder / "q.jsonl").write_text(jsonl([{"_id": "d1", "text": CORPUS[2][2]}]), encoding="utf-8")
    (folder / "r.tsv").write_text("query-id\tcorpus-id\tscore\nd1\td2\t1\nd1\td1\t1\n", encoding="utf-8")
    for more, own in (("", -1), ('exclude = "same-id"', 0), ('exclude = "same-text"', 2)):
        found = load_collection(card_of(folder, more), "test")
        assert found.own.tolist() == [own]
        task = Relevance.judged(np.arange(5), np.array([5]), found.own, found.asked, found.answers, found.labels)
        assert task.partners.tolist() == ([1] if own == 0 else [0, 1])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('exclude = "own"', "key 'exclude' has the unknown value 'own'"),
        ('columns = { text = "_id" }', "key 'columns.text' must be a different column from id"),
        ('columns = { passage = "text" }', "key 'columns.passage' is unknown"),
        ("labels = { scale = [0, 1] }", "key 'labels' is unknown"),
    ],
)
def test_a_card_that_cannot_be_is_refused(folder: Path, more: str, said: str) -> None:
    with pytest.raises(HengyuError, match=said):
        card_of(folder, more)
    with pytest.raises(HengyuError, match=r"splits\.test\.corpus' must be a path below"):
        card_of(folder, "", ("../c.jsonl", "q.jsonl", "r.tsv"))


def test_grades_are_gains_and_ties_in_relevance_group_queries() -> None:
    own = np.full(3, -1)
    task = Relevance.judged(
        np.arange(6),
        np.arange(6, 9),
        own,
        np.array([0, 0, 0, 1, 2]),
        np.array([0, 1, 2, 2, 5]),
        np.array([3, 1, 0, 1, 2.0]),
    )
    assert task.counts.tolist() == [2, 1, 1]  # what is graded 0 says nothing
    assert task.groups.tolist() == [0, 1, 2]
    ids = np.array([[1, 3, 0], [2, 0, 1], [0, 1, 2]])
    found = scores(task, ids, np.zeros_like(ids))
    ideal = 3 + 1 / np.log2(3)
    assert found["ndcg@10"] == pytest.approx([(1 + 3 / 2) / ideal, 1, 0])
    assert found["mrr@10"].tolist() == [1, 1, 0]
    assert found["recall@10"].tolist() == [1, 1, 0] and found["recall@1"].tolist() == [0.5, 1, 0]
    shared = Relevance.judged(np.arange(3), np.arange(3, 6), own, np.array([0, 1, 2]), np.array([0, 0, 1]), np.ones(3))
    assert shared.groups.tolist() == [0, 0, 1]


def test_the_commands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hengyu.methods.search.cost._SECONDS", 0.01)
    card_of(folder)
    run = CliRunner().invoke
    done = run(main, ["validate", str(folder / "mine.toml")])
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "valid: 1 card")
    listed = run(main, ["list", "datasets", "--datasets", str(folder)])
    assert re.search(r"mine +test +grades +not stated +next to its card", listed.output)
    options = ["--datasets", str(folder), "--task", "mine:test", "--quiet"]
    weighed = run(main, ["run", "retrieval", *options, "--entry", "flat", "--entry", "binary-flat"])
    assert weighed.exit_code == 0, weighed.output
    made = load_run(Path(weighed.output.split("records: ")[1].splitlines()[0]))
    (head,) = made.header["tasks"]
    assert {k: head[k] for k in ("n", "corpus", "queries", "relevant", "groups", "scale")} == {
        "n": 5, "corpus": 5, "queries": 3, "relevant": 4, "groups": 3, "scale": [0.0, 2.0]
    }  # fmt: skip
    assert made.header["warnings"][0] == "mine:test: 1 of 4 queries have no judgement and are left out"
    # all five documents are found, so that every relevant one is among the first ten
    assert {r.value for r in made.records if r.entry == "flat" and r.metric in ("recall@10", "recall@100")} == {1.0}
    refused = run(main, ["run", "smoke", *options])
    assert refused.exit_code == 2 and refused.stderr.count("\n") == 1
    assert "hengyu run retrieval --task mine:test" in refused.stderr


@pytest.mark.long
def test_a_suite_takes_a_small_corpus_as_far_as_it_goes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hengyu.methods.search.cost._SECONDS", 0.01)
    card_of(folder)
    options = ["run", "retrieval", "--datasets", str(folder), "--task", "mine:test", "--quiet"]
    done = CliRunner().invoke(main, options)
    assert done.exit_code == 0, done.output
    made = load_run(Path(done.output.split("records: ")[1].splitlines()[0]))
    rows = {r.entry: r for r in made.records if r.task == "mine:test" and r.metric == "ndcg@10"}
    assert (rows["ivf"].status, rows["ivf"].reason) == (
        "unavailable",
        "ivf(lists=64) has more lists than there are vectors (5); lower lists",
    )
    assert {rows[e].status for e in ("flat", "hnsw", "lsh(bits=512)", "whitening > flat")} == {"ok"}
    asked = CliRunner().invoke(main, [*options, "--entry", "ivf"])
    assert asked.exit_code == 2 and "lower lists" in asked.stderr


def test_both_kinds_of_cards_stand_in_one_suite(folder: Path) -> None:
    card_of(folder)
    path = folder / "suites" / "both.toml"
    path.parent.mkdir()
    path.write_text(
        'kind = "retrieval"\ntasks = ["hengyu-sts:valid", "mine:test"]\nrelevant = 4\nentries = ["center > flat"]\n',
        encoding="utf-8",
    )
    plan = make_plan(load_suite(path), datasets=[folder])
    own = plan.truths["mine:test"].relevance
    assert [plan.texts[i] for i in own.queries] == [x for _, x in QUERIES[:3]]
    fit = plan.fits["mine:test", "target"]
    assert len(fit.ids) == len(CORPUS) + 3
    assert "mine" not in load_cards()


def relaid(folder: Path, qrels: str, name: str = "r.tsv") -> Path:
    (folder / name).write_text(qrels, encoding="utf-8")
    return folder


@pytest.mark.parametrize("mark", ["\t", " ", "   "])
@pytest.mark.parametrize("trec", [False, True])
@pytest.mark.parametrize("columns", ["", "its own", "the first three"])
def test_judgements_without_a_header_are_read_by_their_places(
    folder: Path, mark: str, trec: bool, columns: str
) -> None:
    wanted = load_collection(card_of(folder), "test")
    rows = [(q, "0", d, str(g)) if trec else (q, d, str(g)) for q, d, g in QRELS]
    relaid(folder, "".join(mark.join(row) + "\n" for row in rows))
    places = (
        "{ query = 0, document = 2, grade = 3 }"
        if trec and columns == "its own"
        else "{ query = 0, document = 1, grade = 2 }"
    )
    found = load_collection(card_of(folder, f"columns = {places}" if columns else ""), "test")
    assert found.digest == wanted.digest and found.notes == wanted.notes


def test_a_part_may_be_in_several_files(folder: Path) -> None:
    wanted = load_collection(card_of(folder), "test")
    lines = (folder / "c.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "corpus").mkdir()
    for number, part in enumerate((lines[:2], lines[2:])):
        (folder / "corpus" / f"part-{number}.jsonl").write_text("".join(part), encoding="utf-8")
    for corpus in ('"corpus"', '"corpus/*.jsonl"', '["corpus/part-0.jsonl", "corpus/part-1.jsonl"]'):
        text = CARD.format(more="", c="C", q="q.jsonl", r="r.tsv").replace('"C"', corpus)
        (folder / "mine.toml").write_text(text, encoding="utf-8")
        card = load_card(folder / "mine.toml")
        assert isinstance(card, CollectionCard)
        assert load_collection(card, "test").digest == wanted.digest
        assert load_collection(card, "test", folder).digest == wanted.digest
    for corpus, said in (
        ('"corpus/*.tsv"', "is not here"),
        ("[]", "is an empty list"),
        ('["../x.jsonl"]', "below the card"),
    ):
        text = CARD.format(more="", c="C", q="q.jsonl", r="r.tsv").replace('"C"', corpus)
        (folder / "mine.toml").write_text(text, encoding="utf-8")
        with pytest.raises(HengyuError, match=said):
            load_collection(load_card(folder / "mine.toml"), "test")


def test_a_folder_as_beir_has_it_gets_a_card(folder: Path, tmp_path: Path) -> None:
    beir = tmp_path / "faq"
    (beir / "qrels").mkdir(parents=True)
    for old, new in (("c.jsonl", "corpus.jsonl"), ("q.jsonl", "queries.jsonl"), ("r.tsv", "qrels/test.tsv")):
        (folder / old).rename(beir / new)
    (beir / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n", encoding="utf-8")
    done = CliRunner().invoke(main, ["card", str(beir)])
    assert done.exit_code == 0, done.output
    assert "faq:test: 5 documents, 3 queries, 5 judgements" in done.output and "--task faq:dev" in done.output
    assert load_collection(load_card(beir / "card.toml"), "dev").queries == ("怎么改密码",)
    refused = CliRunner().invoke(main, ["card", str(beir / "qrels")])
    assert refused.exit_code == 2 and "is a folder without corpus, queries and qrels;" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_text_that_is_null_is_empty(folder: Path) -> None:
    documents = [
        {"_id": i, "title": "题" if i == "d3" else None, "text": None if i == "d3" else x} for i, _, x in CORPUS
    ]
    (folder / "c.jsonl").write_text(jsonl(documents), encoding="utf-8")
    assert load_collection(card_of(folder), "test").documents[2] == "题"
    (folder / "c.jsonl").write_text(jsonl([*documents, {"_id": "d6", "text": None}]), encoding="utf-8")
    with pytest.raises(HengyuError, match="line 6: a text must not be empty"):
        load_collection(card_of(folder), "test")


def test_queries_that_find_themselves_are_warned_of(folder: Path) -> None:
    (folder / "q.jsonl").write_text(
        jsonl(
            [{"_id": "q1", "text": CORPUS[0][2]}, {"_id": "q2", "text": CORPUS[2][2]}, {"_id": "q3", "text": "别的"}]
        ),
        encoding="utf-8",
    )
    relaid(folder, "q1\td1\t1\nq2\td1\t1\nq3\td1\t1\n")  # q1 asks for the document of its own text
    (note,) = load_collection(card_of(folder), "test").notes
    assert note.startswith("mine:test: 1 of 3 queries stand in the corpus as they are") and "same-text" in note
    others = load_collection(card_of(folder, 'exclude = "same-text"'), "test").notes
    assert not any("find themselves" in note for note in others)


def ranked(card: CollectionCard, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Return what we say of rows found (Q, k), query by query."""
    c = load_collection(card, "test")
    numbers = np.arange(len(c.documents)), len(c.documents) + np.arange(len(c.queries))
    task = SearchData(c, numbers[1][c.asked], numbers[0][c.answers], c, *numbers)
    truth = Retrieval().truth(task, None, None)
    return scores(truth.relevance, ids, None)


@pytest.mark.parametrize("seed", range(3))
def test_numbers_are_those_of_trec_eval(folder: Path, seed: int) -> None:
    """Zero and negative grades, a query without a relevant document, and relevant documents that the corpus lacks."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    rng = np.random.default_rng(seed)
    documents, queries = [f"d{i}" for i in range(30)], [f"q{i}" for i in range(12)]
    judged = {q: {f"d{d}": int(rng.integers(-1, 4)) for d in rng.choice(36, 8, replace=False)} for q in queries}
    judged["q3"] = {"d1": 0, "d2": -1}
    judged["q4"] = {"d33": 2}
    (folder / "c.jsonl").write_text(jsonl([{"_id": d, "text": d} for d in documents]), encoding="utf-8")
    (folder / "q.jsonl").write_text(jsonl([{"_id": q, "text": q} for q in queries]), encoding="utf-8")
    relaid(folder, "".join(f"{q} 0 {d} {g}\n" for q, found in judged.items() for d, g in found.items()))
    card = card_of(folder, 'malformed = "drop"')
    ids = np.stack([rng.permutation(30) for _ in queries])
    # our order, as scores without ties: trec_eval puts the higher id first among equal ones
    run = {
        q: {documents[d]: float(30 - place) for place, d in enumerate(row)} for q, row in zip(queries, ids, strict=True)
    }
    theirs = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10", "recall.1,10,100", "recip_rank"}).evaluate(run)
    ours = ranked(card, ids)
    for metric, name in (("ndcg@10", "ndcg_cut_10"), ("recall@1", "recall_1"), ("recall@10", "recall_10")):
        assert ours[metric] == pytest.approx([theirs[q][name] for q in queries]), metric
    first = np.array([theirs[q]["recip_rank"] for q in queries])
    assert ours["mrr@10"] == pytest.approx(np.where(first >= 0.1, first, 0))
    assert len(load_collection(card_of(folder, 'malformed = "drop"\nunanswered = "drop"'), "test").queries) < 12
