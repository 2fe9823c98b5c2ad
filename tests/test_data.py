"""Data: what stands in a file arrives unchanged, and what cannot be used is named by file and line."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hengyu.base.errors import HengyuError
from hengyu.cards import load_card, load_cards
from hengyu.cards.card import Card
from hengyu.cards.data import Pairs, cached, load_pairs, locate
from hengyu.cards.rows import at_lines

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = Path(os.environ.get("HENGYU_SENTEVAL") or ROOT.parent / "shared" / "senteval_cn")
HEAD = "sentence1\tsentence2\tlabel\n"
GRADED = "labels = { scale = [0, 5] }"
BINARY = 'labels = { scale = [0, 1], kind = "binary" }'

Triple = tuple[str, str, float]


def card_for(folder: Path, file: str, *more: str, labels: str = GRADED, split: str = "") -> Card:
    path = folder / "mine.toml"
    path.write_text("\n".join(['name = "mine"', labels, *more, "[splits.test]", f'file = "{file}"', split]) + "\n")
    return load_card(path)


def load(
    folder: Path, content: str | bytes, *more: str, file: str = "x.tsv", labels: str = GRADED, split: str = ""
) -> Pairs:
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return load_pairs(card_for(folder, file, *more, labels=labels, split=split), "test")


def refuse(said: str, folder: Path, content: str | bytes, *more: str, file: str = "x.tsv", **kind: str) -> None:
    with pytest.raises(HengyuError) as e:
        load(folder, content, *more, file=file, **kind)
    assert said in str(e.value)
    assert all(p.startswith(str(folder / file)) for p in e.value.problems)


# --- what stands there arrives unchanged


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_and_bom(tmp_path: Path, end: str, mark: str, last: bool) -> None:
    text = (
        mark + end.join(["sentence1\tsentence2\tlabel", ' 他说"好 \tNA\t5', 'null\t"甲\t1.5']) + (end if last else "")
    )
    pairs = load(tmp_path, text)
    assert pairs.first == (' 他说"好 ', "null")
    assert pairs.second == ("NA", '"甲')
    assert pairs.labels.dtype == np.float64
    assert pairs.labels.tolist() == [5, 1.5]
    assert pairs.task == "mine:test"
    assert pairs.sha256 == hashlib.sha256((tmp_path / "x.tsv").read_bytes()).hexdigest()


def test_only_newline_ends_a_line(tmp_path: Path) -> None:
    odd = "甲\u2028乙\u2029丙\x85丁\x0b戊\x0c己\x1c庚"
    pairs = load(tmp_path, f"{HEAD}{odd}\t1\t0\n乙\t{odd}\t5\n")
    assert pairs.first == (odd, "乙")
    assert pairs.second == ("1", odd)


def text_of(*, without: str = "") -> st.SearchStrategy[str]:
    letters = st.one_of(
        st.sampled_from(list("天气'\"\\,;\t\n\r \u3000\u2028\x85\x0b\x00\ufeff😀{}1")),
        st.characters(exclude_categories=["Cs"]),
    )
    text = st.text(letters, min_size=1, max_size=12).filter(lambda t: bool(t.strip()))
    words = st.sampled_from(["NA", "null", "None", "nan", "1", "1.0", "true", '"', "'", "#x", "=1+1", "\\N"])
    return st.one_of(text, words).filter(lambda t: not set(t) & set(without))


def rows_of(*, without: str = "") -> st.SearchStrategy[list[Triple]]:
    row = st.tuples(text_of(without=without), text_of(without=without), st.floats(0, 5))
    rows = st.lists(row, min_size=1, max_size=6)
    return rows.filter(lambda rows: len(rows) == 1 or len({y for *_, y in rows}) > 1)  # constant labels are refused


def same(pairs: Pairs, rows: list[Triple]) -> None:
    assert list(zip(pairs.first, pairs.second, pairs.labels.tolist(), strict=True)) == rows


@settings(max_examples=60, deadline=None)
@given(rows=rows_of(without="\t\n\r"))
def test_tsv_round_trip(rows: list[Triple]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        content = HEAD + "".join(f"{a}\t{b}\t{y!r}\n" for a, b, y in rows)
        same(load(Path(folder), content, 'quoting = "none"'), rows)


@settings(max_examples=60, deadline=None)
@given(rows=rows_of())
def test_csv_round_trip(rows: list[Triple]) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([("sentence1", "sentence2", "label"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        same(load(Path(folder), out.getvalue(), 'quoting = "csv"', file="x.csv"), rows)


@settings(max_examples=60, deadline=None)
@given(rows=rows_of(), escape=st.booleans(), packed=st.booleans())
def test_jsonl_round_trip(rows: list[Triple], escape: bool, packed: bool) -> None:
    lines = [json.dumps({"label": y, "sentence2": b, "sentence1": a, "id": 1}, ensure_ascii=escape) for a, b, y in rows]
    content = ("\n".join(lines) + "\n").encode()
    with tempfile.TemporaryDirectory() as folder:
        name = "x.jsonl.gz" if packed else "x.jsonl"
        same(load(Path(folder), gzip.compress(content) if packed else content, file=name), rows)


@settings(max_examples=30, deadline=None)
@given(rows=rows_of())
def test_parquet_round_trip(rows: list[Triple]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    first, second, labels = zip(*rows, strict=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.parquet"
        pq.write_table(
            pa.table({"label": labels, "sentence1": first, "sentence2": second, "id": range(len(rows))}), path
        )
        same(load(Path(folder), path.read_bytes(), file="x.parquet"), rows)


def test_columns_by_name_and_position(tmp_path: Path) -> None:
    by_name = 'columns = { sentence1 = "a", sentence2 = "b", label = "y" }'
    pairs = load(tmp_path, "y\tid\tb\ta\n3\t7\t乙\t甲\n", by_name)
    assert (pairs.first, pairs.second, pairs.labels.tolist()) == (("甲",), ("乙",), [3])
    by_place = "columns = { sentence1 = 3, sentence2 = 2, label = 0 }"
    pairs = load(tmp_path, "3\t7\t乙\t甲\n", by_place)
    assert (pairs.first, pairs.second, pairs.labels.tolist()) == (("甲",), ("乙",), [3])
    refuse("line 1 has 3 fields and no column 3", tmp_path, "3\t乙\t甲\n", by_place)


def test_labels_as_json_strings(tmp_path: Path) -> None:
    line = '{"sentence1": "甲", "sentence2": "乙", "label": "%s"}\n'
    assert load(tmp_path, line % "0" + line % "1", file="x.jsonl", labels=BINARY).labels.tolist() == [0, 1]


# --- what cannot be used is named


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("abc", "line 3: the label must be a number, not 'abc'; correct it"),
        ("", "line 3: the label is missing; add it, or remove the line from the file"),
        ("1_0", "line 3: the label must be a number"),
        ("５", "line 3: the label must be a number"),
        ("nan", "line 3: the label must be finite, not 'nan'"),
        ("-inf", "line 3: the label must be finite, not '-inf'"),
        ("1e999", "line 3: the label must be finite, not '1e999'"),
        ("5.01", "line 3: the label must lie in 0..5, not '5.01'"),
        ("-1", "line 3: the label must lie in 0..5, not '-1'"),
    ],
)
def test_bad_label(tmp_path: Path, label: str, said: str) -> None:
    refuse(said, tmp_path, f"{HEAD}甲\t乙\t1\n甲\t丙\t{label}\n")


def test_words_for_labels_of_a_binary_card(tmp_path: Path) -> None:
    said = "line 2: the label must be a number (1 and 0 instead of words), not 'yes'; correct it"
    refuse(said, tmp_path, HEAD + "甲\t乙\tyes\n", labels=BINARY)


@pytest.mark.parametrize(
    ("mark", "file", "said"),
    [
        (";", "x.csv", 'separated by semicolons, not by commas; add separator = ";" to the card'),
        ("\t", "x.csv", 'separated by tabs, not by commas; add format = "tsv" to the card'),
        (",", "x.tsv", 'separated by commas, not by tabs; add format = "csv" to the card'),
        ("||", "x.tsv", 'separated by "||", not by tabs; add separator = "||" to the card'),
        ("\x01", "x.tsv", 'add separator = "\\u0001" to the card'),
        ("   ", "x.tsv", 'separated by runs of spaces, not by tabs; add separator = "  " to the card'),
    ],
)
def test_other_marks_between_fields_are_named(tmp_path: Path, mark: str, file: str, said: str) -> None:
    refuse(said, tmp_path, "\ufeff" + HEAD.replace("\t", mark) + f"甲{mark}乙{mark}1\n", file=file)


def test_bad_label_of_a_binary_card(tmp_path: Path) -> None:
    refuse(
        "line 2: the label must be 0 or 1 in a binary card, not '0.5'", tmp_path, HEAD + "甲\t乙\t0.5\n", labels=BINARY
    )


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1" + "0" * 400])
def test_json_label_not_finite(tmp_path: Path, value: str) -> None:
    refuse(
        "line 1: the label must be finite",
        tmp_path,
        f'{{"sentence1":"甲","sentence2":"乙","label":{value}}}',
        file="x.jsonl",
    )


@pytest.mark.parametrize("value", ["true", '"x"', "[1]", "{}"])
def test_json_label_no_number(tmp_path: Path, value: str) -> None:
    line = f'{{"sentence1":"甲","sentence2":"乙","label":{value}}}'
    refuse("line 1: the label must be a number", tmp_path, line, file="x.jsonl")


def test_json_label_missing(tmp_path: Path) -> None:
    refuse("line 1: the label is missing", tmp_path, '{"sentence1":"甲","sentence2":"乙","label":null}', file="x.jsonl")


def test_wrong_number_of_fields(tmp_path: Path) -> None:
    text = f"{HEAD}甲\t乙\t1\n甲\t乙\n\n甲\t乙\t1\t2\n甲\t丙\t2\n"
    said = (
        "lines 3, 4 and 5: a line must have 3 fields between tabs, not 2 (the first of them); correct the file, "
        'or skip such lines with malformed = "drop" in the card'
    )
    refuse(said, tmp_path, text)
    pairs = load(tmp_path, text, 'malformed = "drop"')
    assert pairs.dropped == (3, 4, 5)
    assert len(pairs.first) == len(pairs.second) == len(pairs.labels) == 2


def test_empty_sentence(tmp_path: Path) -> None:
    text = f"{HEAD}甲\t \u3000\t1\n甲\t丙\t2\n"
    refuse("line 2: a sentence must not be empty; correct the file", tmp_path, text)
    assert load(tmp_path, text, 'malformed = "drop"').dropped == (2,)


def test_many_lines_are_counted(tmp_path: Path) -> None:
    text = HEAD + "甲\t乙\t1\n" * 3 + "".join(f"甲\t乙\tx{i}\n" for i in range(40))
    refuse(
        "lines 5, 6, 7, 8, 9 and 35 more: the label must be a number, not 'x0' (the first of them); correct",
        tmp_path,
        text,
    )
    assert [at_lines("line", range(1, n + 1)) for n in (1, 2, 3, 5, 6)] == [
        "line 1",
        "lines 1 and 2",
        "lines 1, 2 and 3",
        "lines 1, 2, 3, 4 and 5",
        "lines 1, 2, 3, 4, 5 and 1 more",
    ]


def test_not_utf8(tmp_path: Path) -> None:
    refuse(
        "line 3 is not UTF-8 (byte 5 of the line)",
        tmp_path,
        f"{HEAD}甲\t乙\t1\n甲".encode() + "\t乙".encode("gb18030"),
    )
    refuse("is UTF-16, like Excel's 'Unicode text'; save it as 'CSV UTF-8'", tmp_path, HEAD.encode("utf-16"))
    refuse("is a zip file (Excel workbooks are, too)", tmp_path, b"PK\x03\x04" + bytes(90), file="x.csv")
    refuse("line 2 is not UTF-8", tmp_path, b'{"sentence1":"x","sentence2":"y","label":1}\n{"\xff', file="x.jsonl")


@pytest.mark.parametrize("text", ["", HEAD, HEAD + "\n\n", "\ufeff" + HEAD])
def test_empty_split(tmp_path: Path, text: str) -> None:
    refuse("holds no pairs", tmp_path, text)


def test_one_class_only(tmp_path: Path) -> None:
    refuse(
        "every label is 1, but scores need both classes",
        tmp_path,
        HEAD + "甲\t乙\t1\n丙\t丁\t1\n",
        labels=BINARY,
    )


def test_hidden_labels(tmp_path: Path) -> None:
    refuse(
        "every label is -1, which marks hidden labels",
        tmp_path,
        HEAD + "甲\t乙\t-1\n丙\t丁\t-1\n",
        labels=BINARY,
    )


def test_missing_header_column(tmp_path: Path) -> None:
    refuse(
        "line 1: the header has no column 'sentence2'; did you mean 'sentense2'?",
        tmp_path,
        "sentence1\tsentense2\tlabel\n甲\t乙\t1\n",
    )
    refuse("its fields are separated by commas, not by tabs", tmp_path, "sentence1,sentence2,label\n甲,乙,1\n")
    refuse("line 1: the header names 'label' twice", tmp_path, "label\tsentence1\tsentence2\tlabel\n1\t甲\t乙\t1\n")
    refuse(
        "line 1 has no key 'label'; did you mean 'labels'?",
        tmp_path,
        '{"sentence1":"甲","sentence2":"乙","labels":1}',
        file="x.jsonl",
    )


def test_wrong_digest(tmp_path: Path) -> None:
    text = HEAD + "甲\t乙\t1\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert load(tmp_path, text, split=f'sha256 = "{digest}"').sha256 == digest
    refuse(
        f"the sha256 is {digest}, but {'0' * 64} was expected; get it again",
        tmp_path,
        text,
        split=f'sha256 = "{"0" * 64}"',
    )


def test_wrong_number_of_rows(tmp_path: Path) -> None:
    text = HEAD + "甲\t乙\t1\n坏\n丙\t丁\t2\n"
    said = f"2 rows (malformed line 3 dropped), but {tmp_path}/mine.toml says 3; get the file again"
    refuse(said, tmp_path, text, 'malformed = "drop"', split="rows = 3")
    assert len(load(tmp_path, text, 'malformed = "drop"', split="rows = 2").first) == 2


@pytest.mark.parametrize("broken", ['{"sentence1": "甲"', "[1, 2]", "甲\t乙\t1", '"x"', "[" * 100_000])
def test_broken_json_line(tmp_path: Path, broken: str) -> None:
    refuse("line 2 is n", tmp_path, f'{{"sentence1":"甲","sentence2":"乙","label":1}}\n{broken}\n', file="x.jsonl")


def test_number_for_a_sentence(tmp_path: Path) -> None:
    line = '{"sentence1":"甲","sentence2":%s,"label":1}'
    refuse("line 1: a sentence must be text, not 5;", tmp_path, line % "5", file="x.jsonl")
    refuse("line 1: a sentence must be text, not None;", tmp_path, line % "null", file="x.jsonl")
    refuse("must not contain half a surrogate pair", tmp_path, line % '"\\ud83d"', file="x.jsonl")


def test_parquet_that_cannot_be_used(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    good = {"sentence1": ["甲", "丙"], "sentence2": ["乙", "丁"], "label": [1, 2]}

    def packed(**change: object) -> bytes:
        sink = io.BytesIO()
        pq.write_table(pa.table({**good, **change}), sink)
        return sink.getvalue()

    assert load(tmp_path, packed(), file="x.parquet").labels.tolist() == [1, 2]
    refuse("damaged or cut short", tmp_path, packed()[:-20], file="x.parquet")
    refuse("damaged or cut short", tmp_path, b"", file="x.parquet")
    refuse("damaged or cut short", tmp_path, HEAD, file="x.parquet")
    refuse(
        "rows 1 and 2: a sentence must be text, not 1 (the first of them)",
        tmp_path,
        packed(sentence1=[1, 2]),
        file="x.parquet",
    )
    refuse("row 2: a sentence must be text, not None", tmp_path, packed(sentence1=["甲", None]), file="x.parquet")
    refuse("row 2: the label must be finite", tmp_path, packed(label=[1.0, float("nan")]), file="x.parquet")
    refuse("row 1: the label is missing", tmp_path, packed(label=[None, 1]), file="x.parquet")
    card = 'columns = { sentence1 = "sentence_1", sentence2 = "sentence2", label = "label" }'
    refuse(
        "the table has no column 'sentence_1'; did you mean 'sentence1'?", tmp_path, packed(), card, file="x.parquet"
    )


def test_damaged_gzip(tmp_path: Path) -> None:
    content = gzip.compress(f"{HEAD}甲\t乙\t1\n".encode())
    refuse("the gzip file is damaged or cut short", tmp_path, content[:-6], file="x.tsv.gz")


def test_broken_csv_quoting(tmp_path: Path) -> None:
    refuse("line 3: broken quoting", tmp_path, 'sentence1,sentence2,label\n甲,乙,1\n"丙,丁,2\n', file="x.csv")
    said = "line 4: a line must have 3 fields, not 2; correct"
    refuse(said, tmp_path, 'sentence1,sentence2,label\n"甲\n甲",乙,1\n丙,丁\n', file="x.csv")


# --- where files are looked for


def test_search_order(tmp_path: Path) -> None:
    card = card_for(tmp_path, "x.jsonl", 'hub = { id = "a/b", revision = "%s" }' % ("0" * 40))
    given, beside, fetched = tmp_path / "given" / "x.jsonl", tmp_path / "x.jsonl", cached(card, "test")
    assert fetched
    for path, label in ((fetched, 3), (beside, 2), (given, 1)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{{"sentence1":"甲","sentence2":"乙","label":{label}}}\n', encoding="utf-8")
        if path == fetched:  # nothing vouches for it before `hengyu fetch` has noted its sha256
            with pytest.raises(HengyuError, match="cannot be verified.*run 'hengyu fetch mine' again"):
                load_pairs(card, "test")
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            (path.parent / "fetch.json").write_text(
                json.dumps({"splits": {"test": {"sha256": digest}}}), encoding="utf-8"
            )
        pairs = load_pairs(card, "test", tmp_path / "given")
        assert (pairs.source, pairs.labels.tolist()) == (path, [label])


def test_not_found_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HengyuError) as e:
        locate(load_cards()["LCQMC"], "test", tmp_path)
    (problem,) = e.value.problems
    assert problem.startswith("LCQMC:test is not here (looked for")
    assert str(tmp_path / "LCQMC" / "LCQMC.test.data") in problem
    assert "run 'hengyu fetch LCQMC' or give the folder that holds LCQMC/LCQMC.test.data with --data DIR" in problem
    with pytest.raises(HengyuError) as e:
        load_pairs(card_for(tmp_path, "x.tsv"), "test")
    assert "fetch" not in str(e.value)
    with pytest.raises(HengyuError, match="has no split 'tset'; did you mean 'test'"):
        load_pairs(card_for(tmp_path, "x.tsv"), "tset")


# --- the data themselves


def test_our_own_data() -> None:
    card = load_cards()["hengyu-sts"]
    parts = [load_pairs(card, split) for split in card.splits]
    assert [len(p.labels) for p in parts] == [2572, 1137, 3608]
    sentences = [s for p in parts for s in p.first + p.second]
    assert len(set(sentences)) == len(sentences) == 2 * 7317
    assert [round(float(p.labels.mean()), 2) for p in parts] == [2.77, 2.75, 2.76]


def test_our_questions_are_pairs_of_hengyu_sts_in_the_same_splits() -> None:
    questions, graded = load_cards()["hengyu-questions"], load_cards()["hengyu-sts"]
    for split, ones in (("train", 368), ("valid", 153), ("test", 498)):
        few, all_of_them = load_pairs(questions, split), load_pairs(graded, split)
        scores = dict(zip(zip(all_of_them.first, all_of_them.second, strict=True), all_of_them.labels, strict=True))
        own = np.array([scores[pair] for pair in zip(few.first, few.second, strict=True)])
        assert few.labels.sum() == ones
        assert own[few.labels == 1].min() > own[few.labels == 0].mean() + 1


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"the five published tasks are not at {PUBLISHED} (HENGYU_SENTEVAL)")
@pytest.mark.parametrize(
    ("task", "rows", "positives"),
    [
        ("ATEC:valid", 20000, 3688),
        ("ATEC:test", 20000, 3610),
        ("BQ:valid", 10000, 5000),
        ("BQ:test", 10000, 5000),
        ("LCQMC:valid", 8802, 4402),
        ("LCQMC:test", 12500, 6250),
        ("PAWSX:valid", 2000, 853),
        ("PAWSX:test", 2000, 894),
        ("STS-B:train", 5231, [836, 807, 887, 1416, 1033, 252]),
        ("STS-B:valid", 1458, [333, 247, 267, 354, 205, 52]),
        ("STS-B:test", 1361, [241, 193, 261, 330, 239, 97]),
    ],
)
def test_published_data(task: str, rows: int, positives: int | list[int]) -> None:
    name, split = task.split(":")
    pairs = load_pairs(load_cards()[name], split, PUBLISHED)
    expected = positives if isinstance(positives, list) else [rows - positives, positives]
    assert np.bincount(pairs.labels.astype(int)).tolist() == expected
    assert (len(pairs.first), len(pairs.second), pairs.dropped) == (rows, rows, ())
    assert re.fullmatch(r"[0-9a-f]{64}", pairs.sha256)
