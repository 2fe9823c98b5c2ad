"""What `test_fuzz` does not reach: retrieval data, curves of trainings, the index of runs, and where a run's parts lay.

Read right or refused in a sentence, as there; HENGYU_SOAK=N multiplies the examples.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import runs
from hypothesis import given
from hypothesis import strategies as st
from test_fuzz import ATOMS, VALUES, broken, changed, fuzz, refused_or, toml, use

from hengyu.cards import load_card
from hengyu.cards.card import PARTS, CollectionCard
from hengyu.cards.checks import number_of
from hengyu.cards.collection import Collection, load_collection
from hengyu.report.page.index import write_index
from hengyu.report.page.leaderboard import render
from hengyu.report.page.reproduce import command_of_row, reproduce_sheet
from hengyu.storage.records import load_run
from hengyu.storage.records.costs import damaged_costs, note_costs, read_costs

# --- retrieval data ---

CARD: dict[str, Any] = {
    "name": "fuzzed",
    "kind": "retrieval",
    "malformed": "drop",
    "exclude": "same-id",
    "columns": {"id": "_id", "title": "title", "text": "text", "query": "q", "document": "d", "grade": "g"},
    "splits": {"test": {"corpus": "c.jsonl", "queries": "q.jsonl", "qrels": "r.tsv"}},
}
HUB = {"id": "a/b", "revision": "0" * 40, "sha256": {"x.csv": "0" * 64}, "columns": {"id": "id"}}
DOCUMENTS = [{"_id": f"d{i}", "title": "题" if i % 2 else "", "text": f"第{i}篇"} for i in range(6)]
QUERIES = [{"_id": f"q{i}", "text": f"第{i}问"} for i in range(4)]
QRELS = [("q0", "d0", "2"), ("q1", "d1", "1"), ("q1", "d2", "0"), ("q2", "d3", "1"), ("q3", "d5", "1")]


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace")


def table(rows: list[tuple[str, str, str]]) -> bytes:
    return "".join("\t".join(row) + "\n" for row in [("q", "d", "g"), *rows]).encode("utf-8", "replace")


FILES = {"c.jsonl": lines(DOCUMENTS), "q.jsonl": lines(QUERIES), "r.tsv": table(QRELS)}


@pytest.fixture
def card(tmp_path: Path) -> CollectionCard:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "fuzzed.toml").write_text(toml(CARD), encoding="utf-8")
    found = load_card(tmp_path / "fuzzed.toml")
    assert isinstance(found, CollectionCard)
    return found


def hold(found: Collection) -> None:
    """What is true of every collection, whatever the files were."""
    assert len(found.asked) == len(found.answers) == len(found.labels) == len(found.first) == len(found.second) > 0
    assert found.asked.min() >= 0 and found.asked.max() < len(found.queries) == len(found.own)
    assert found.answers.min() >= 0 and found.answers.max() < len(found.documents) >= 2
    assert len({*zip(found.asked.tolist(), found.answers.tolist(), strict=True)}) == len(found.asked)
    for grade in found.labels.tolist():
        assert math.isfinite(grade) and grade >= 0
    others = found.answers != found.own[found.asked]  # what is not the query itself
    for query in range(len(found.queries)):  # each has been judged, whether or not something is relevant to it
        assert (others & (found.asked == query)).any() or query in found.lost[0]
    assert (others & (found.labels > 0)).any() or len(found.lost[0])
    for text in (*found.documents, *found.queries):
        assert text.strip() and text.encode("utf-8")


@fuzz(100)
@given(data=st.data())
def test_retrieval_cards_by_value(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz-collection.toml"
    whole = {**CARD, "hub": HUB} if data.draw(st.booleans()) else CARD
    path.write_text(toml(data.draw(changed(whole))), encoding="utf-8")
    found = refused_or(lambda: load_card(path))
    for split in found.splits if isinstance(found, CollectionCard) else ():
        assert "/" not in split and not split.startswith(".")
        for part in PARTS:
            beside = refused_or(lambda split=split, part=part: found.default_path(split, part))
            assert beside is None or beside.resolve().is_relative_to(path.parent.resolve())


@fuzz(60)
@given(broken(toml({**CARD, "hub": HUB}).encode()))
def test_retrieval_cards_by_byte(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz-collection.toml"
    path.write_bytes(raw)
    refused_or(lambda: load_card(path))


@pytest.mark.parametrize("name", FILES)
def test_files_of_a_retrieval_card_by_byte(card: CollectionCard, name: str) -> None:
    path = card.path.parent / name
    hold(load_collection(card, "test"))

    @fuzz(80)
    @given(broken(FILES[name]))
    def check(raw: bytes) -> None:
        path.write_bytes(raw)
        found = refused_or(lambda: load_collection(card, "test"))
        if found:
            hold(found)

    check()


@pytest.mark.parametrize(("name", "rows"), [("c.jsonl", DOCUMENTS), ("q.jsonl", QUERIES)])
def test_texts_of_a_retrieval_card_by_value(card: CollectionCard, name: str, rows: list[Any]) -> None:
    @fuzz(80)
    @given(changed(rows))
    def check(content: list[Any]) -> None:
        (card.path.parent / name).write_bytes(lines(content))
        found = refused_or(lambda: load_collection(card, "test"))
        if found:
            hold(found)

    check()


WORDS = st.sampled_from(["q0", "q1", "q2", "q3", "q9", "d0", "d1", "d2", "d3", "d9", "", " q0"])
GRADES = st.sampled_from(
    ["0", "1", "2", "0.5", "1e0", "-1", "nan", "inf", "1e999", "", "two", "１", "0x1", "1_0", "1\x1c"]
)


def test_judgements_are_those_of_the_file(card: CollectionCard) -> None:
    """Against a reading of a few lines: what is accepted is what stands there, each pair with its own grade."""
    documents, queries = [d["_id"] for d in DOCUMENTS], [q["_id"] for q in QUERIES]

    @fuzz(150)
    @given(st.lists(st.tuples(WORDS, WORDS, GRADES), max_size=4))
    def check(more: list[tuple[str, str, str]]) -> None:
        rows = [*QRELS, *more]
        (card.path.parent / "r.tsv").write_bytes(table(rows))
        found = refused_or(lambda: load_collection(card, "test"))
        if not found:
            return
        hold(found)
        kept: dict[tuple[str, str], float] = {}
        for query, document, grade in rows:
            if query in queries and document in documents:
                number = max(float(grade.strip()), 0.0)
                assert kept.setdefault((query, document), number) == number
        asked = {q for q, _ in kept}
        places = [q for q in queries if q in asked]
        got = {
            (places[int(q)], documents[int(d)]): float(y)
            for q, d, y in zip(found.asked, found.answers, found.labels, strict=True)
        }
        assert got == kept

    check()


@pytest.mark.parametrize("white", "\x1c\x1d\x1e\x1f\u3000\x0b")
def test_what_strip_takes_for_white_space_is_that_around_a_number_too(white: str) -> None:
    """Found by tests/helpers/guided.py: float() alone does not take all of it, and its ValueError went out as a traceback."""
    for word in (f"1{white}", f"{white}1.5", f"{white}-2e1{white}"):
        assert number_of(word, "label") == (float(word.strip()), "")


# --- curves of trainings, and where the parts of a run lay ---

FIT = {"task": "ATEC:test", "encoder": "hengyu-mini", "pooling": "mean", "fit_on": "target", "seed": 3}
LOOKS = {"step": [0, 5, 10], "loss": [1.0, 0.5], "uniformity": [-1.0, -1.5, -2.0], "effective_rank": [3.0, 3.5, 4.0]}
FITS = [
    {**FIT, "entry": "simcse > center", "trained": [{"name": "simcse", **LOOKS, "held_out_spearman": [0.1, 0.2, 0.3]}]},
    {
        **FIT,
        "entry": "flow",
        "trained": [
            {"name": "flow", "step": [1, 2], "train_bits": [2.0, 1.0], "held_out_bits": [2.5, 1.5], "linear_bits": 1.2}
        ],
    },
]
KEY = ("hengyu-mini", "mean", "whitening", "target")
SOURCES = {
    "encoders": {"hengyu-mini": {"model": "hengyu-mini", "dtype": "float32", "max_length": 0}},
    "data": "/data",
    "datasets": ["/cards"],
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    reports = tmp_path_factory.mktemp("fuzz-kept")
    folder = runs.write_run(runs.make_run(sweep=False), reports)
    (folder / "sums.json").unlink()  # with it every change would be found before anything is read
    header = json.loads((folder / "run.json").read_bytes())
    (folder / "run.json").write_text(json.dumps({**header, "fits": FITS}), encoding="utf-8")
    (folder / "sources.json").write_text(json.dumps(SOURCES), encoding="utf-8")
    return folder


def test_curves_of_trainings(written: Path) -> None:
    path = written / "run.json"
    before = path.read_bytes()
    header = json.loads(before)
    page = render(load_run(written))
    assert "Training of the flows" in page and "Training of the encoders" in page

    @fuzz(12)
    @given(changed(FITS))
    def check(fits: list[Any]) -> None:
        path.write_text(json.dumps({**header, "fits": fits}), encoding="utf-8")
        refused_or(lambda: use(written, page=True))

    try:
        check()
    finally:
        path.write_bytes(before)


def test_where_the_parts_of_a_run_lay(written: Path) -> None:
    path, run = written / "sources.json", load_run(written)

    def both(content: st.SearchStrategy[bytes], examples: int) -> None:
        @fuzz(examples)
        @given(content)
        def check(raw: bytes) -> None:
            path.write_bytes(raw)
            reproduce_sheet(run)
            assert command_of_row(run)(KEY).startswith("hengyu ")

        check()

    both(changed(SOURCES).map(lambda c: json.dumps(c).encode()), 80)
    both(broken(json.dumps(SOURCES).encode()), 60)


# --- the index of all runs ---


@pytest.mark.parametrize("how", ["value", "byte", "anything"])
def test_the_index_says_the_same_whatever_was_kept_of_it(tmp_path: Path, how: str) -> None:
    """listing.json only saves time: the page is that of the records."""
    runs.write_run(runs.make_run(sweep=False), tmp_path)
    page = write_index(tmp_path).read_bytes()
    path = tmp_path / "site" / "listing.json"
    whole = path.read_bytes()
    contents: dict[str, st.SearchStrategy[bytes]] = {
        "value": changed(json.loads(whole), ATOMS | VALUES).map(lambda c: json.dumps(c).encode()),
        "byte": broken(whole),
        "anything": VALUES.map(lambda c: json.dumps(c).encode()),
    }

    @fuzz(20)
    @given(contents[how])
    def check(raw: bytes) -> None:
        path.write_bytes(raw)
        assert write_index(tmp_path).read_bytes() == page

    check()


def test_a_flipped_bit_of_what_the_index_keeps_changes_no_number(tmp_path: Path) -> None:
    runs.write_run(runs.make_run(sweep=False), tmp_path)
    page = write_index(tmp_path).read_bytes()
    path = tmp_path / "site" / "listing.json"
    whole = path.read_bytes()
    digits: Callable[[int], bool] = lambda at: chr(whole[at]).isdigit()  # noqa: E731
    for place in [at for at in range(len(whole)) if digits(at)][::3][:25]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert write_index(tmp_path).read_bytes() == page


def test_a_flipped_bit_of_what_an_index_cost_is_named_and_never_shown(tmp_path: Path) -> None:
    named = {"build-seconds": 1.25, "queries-per-second": 4321.5}
    note_costs(tmp_path, "a", named)
    note_costs(tmp_path, "b", named)
    path = tmp_path / "costs.json"
    whole = path.read_bytes()
    assert read_costs(path) == {"a": named, "b": named} and damaged_costs(tmp_path) == []
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        if read_costs(path) != {"a": named, "b": named}:
            assert read_costs(path) == {} and damaged_costs(tmp_path) == [path]
    path.write_text(json.dumps({"costs": {"a": named}}), encoding="utf-8")  # of before there was a digest
    assert read_costs(path) == {"a": named} and damaged_costs(tmp_path) == []
