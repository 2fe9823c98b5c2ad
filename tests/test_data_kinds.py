"""Files as people have them: each kind is read as what it is, or named with what it is and what to do."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hengyu.base.errors import HengyuError
from hengyu.cards import load_card
from hengyu.cards.content import detect_encoding
from hengyu.cards.data import Pairs, load_pairs
from hengyu.cards.delimited import decide_quoting

GRADED = "labels = { scale = [0, 5] }"
BINARY = 'labels = { scale = [0, 1], kind = "binary" }'
ROWS = [("今天天气怎么样", "今天下雨吗", 1), ("怎么申请退款", "如何修改地址", 0), ("几点开门", "什么时候开门", 1)]
HEAD = "sentence1\tsentence2\tlabel\n"
TSV = HEAD + "".join(f"{a}\t{b}\t{y}\n" for a, b, y in ROWS)


def load(folder: Path, content: str | bytes, *keys: str, file: str = "x.tsv", labels: str = BINARY) -> Pairs:
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    card = folder / "mine.toml"
    card.write_text("\n".join(['name = "mine"', labels, *keys, "[splits.test]", f'file = "{file}"\n']), "utf-8")
    return load_pairs(load_card(card), "test")


def refused(folder: Path, content: str | bytes, *keys: str, file: str = "x.tsv", labels: str = BINARY) -> str:
    with pytest.raises(HengyuError) as e:
        load(folder, content, *keys, file=file, labels=labels)
    (problem,) = e.value.problems
    return problem


def rows_of(pairs: Pairs) -> list[tuple[str, str, float]]:
    return list(zip(pairs.first, pairs.second, pairs.labels.tolist(), strict=True))


def written(rows: list[tuple[str, str, float]], **how: object) -> str:
    out = io.StringIO()
    csv.writer(out, **{"delimiter": "\t", "lineterminator": "\n", **how}).writerows(rows)  # type: ignore[arg-type]
    return out.getvalue()


# --- quotes


words = st.text(st.sampled_from(list('天气"，,\n a')), min_size=1, max_size=8).filter(lambda t: bool(t.strip()))


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(words, words, st.integers(0, 5)), min_size=1, max_size=6))
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_what_a_csv_writer_wrote_is_decided_to_be_csv(rows: list[tuple[str, str, float]], quoting: int) -> None:
    text = written([("甲", "乙", "标签"), *rows], quoting=quoting)  # type: ignore[list-item]
    if '"' in text:
        assert decide_quoting(text, "\t")[0]


@pytest.mark.parametrize(
    "lines",
    [
        ['"红玫瑰是花\t红玫瑰是一种花\t1', '他叫"小明"\t他叫小红\t0', '甲\t"乙\t0'],  # as in PAWS-X
        ['"你好"\t您好\t1', "再见\t走好\t0"],  # the whole field, without need, where others are not quoted
        ['"你好" 和 "再见"\t您好\t1', '"x"\ty\t0'],
        ['"甲\t乙\t1', '丙"\t丁\t0'],  # read as CSV two lines would be one
        ['他说""好""\t好\t1', "丙\t丁\t0"],  # doubled, but not in a quoted field
        ['"a, b"\tc\t1', "d, e\tf\t0"],  # Excel would have quoted the second, too
    ],
)
def test_quotes_that_are_text_are_kept(tmp_path: Path, lines: list[str]) -> None:
    pairs = load(tmp_path, HEAD + "\n".join(lines))
    assert rows_of(pairs) == [(a, b, float(y)) for a, b, y in (line.split("\t") for line in lines)]


def test_tsv_and_csv_of_the_same_rows_are_the_same(tmp_path: Path) -> None:
    rows = [('他说"你好"再走', "他打了招呼", 1.0), ("第一行\n第二行", "两行", 0.0), ("a, b", "c", 1.0)]
    table = [("sentence1", "sentence2", "label"), *rows]
    tabs = load(tmp_path, written(table))  # type: ignore[arg-type]
    commas = load(tmp_path, written(table, delimiter=","), file="x.csv")  # type: ignore[arg-type]
    assert rows_of(tabs) == rows_of(commas) == rows
    assert "fields in quotes (the first on line 2) read as CSV, without the quotes; if the quotes are" in tabs.notes[0]
    assert commas.notes == ()


def test_a_key_decides_instead(tmp_path: Path) -> None:
    text = HEAD + '"他说""好"""\t甲\t1\n乙\t丙\t0\n'
    assert load(tmp_path, text).first[0] == '他说"好"'
    assert load(tmp_path, text, 'quoting = "csv"').first[0] == '他说"好"'
    raw = load(tmp_path, text, 'quoting = "none"')
    assert (raw.first[0], raw.notes) == ('"他说""好"""', ())
    kept = load(tmp_path, HEAD + '"好"\t甲\t1\n乙\t丙\t0\n')
    assert "1 field in quotes (the first on line 2) read as text" in kept.notes[0]


def test_csv_whose_quotes_would_join_whole_lines(tmp_path: Path) -> None:
    text = 'sentence1,sentence2,label\n"甲,乙,1\n丙,丁,0\n戊",己,1\n'
    pairs = load(tmp_path, text, file="x.csv")
    assert pairs.first == ('"甲', "丙", '戊"')
    assert "quotes were kept as text" in pairs.notes[0]
    said = refused(tmp_path, 'sentence1,sentence2,label\n"甲,乙,1\n', file="x.csv")
    assert "line 2: broken quoting" in said and 'add quoting = "none"' in said


def test_keys_of_the_text_are_part_of_the_digest(tmp_path: Path) -> None:
    def digest(*keys: str, labels: str = BINARY) -> str:
        return load(
            tmp_path, TSV.encode("gbk" if any("gbk" in k for k in keys) else "utf-8"), *keys, labels=labels
        ).card.digest

    mapped = 'labels = { scale = [0, 1], kind = "binary", map = { "1" = 1, "0" = 0 } }'
    found = [digest(), digest('quoting = "csv"'), digest('encoding = "gbk"'), digest(labels=mapped)]
    assert len(set(found)) == len(found)


# --- separators and headers


@pytest.mark.parametrize("mark", ["||", ";", "|", "\x01", "###", "~", "|||", "，"])
def test_separators(tmp_path: Path, mark: str) -> None:
    text = TSV.replace("\t", mark)
    key = f"separator = {json.dumps(mark)}"
    assert key in refused(tmp_path, text, file="x.txt").replace("，", "\\uff0c")
    assert rows_of(load(tmp_path, text, key, file="x.txt")) == ROWS


def test_runs_of_spaces(tmp_path: Path) -> None:
    text = "今天 天气   下雨吗     1\n退款  地址  0\n"
    pairs = load(tmp_path, text, 'separator = "  "', "header = false", file="x.txt")
    assert rows_of(pairs) == [("今天 天气", "下雨吗", 1), ("退款", "地址", 0)]
    said = refused(tmp_path, "甲 乙 1\n丙 丁 0\n", "header = false")
    assert 'line 1 holds no tab: its fields are separated by spaces, not by tabs; add separator = " "' in said


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("separator = '\\t'",), "is written with a backslash"),
        (('separator = "||"', 'quoting = "csv"'), "needs a one-character separator"),
        (("separator = '\"'",), "must contain neither quotes nor line ends"),
        (('format = "jsonl"', 'separator = ";"'), "the format is jsonl"),
        (('encoding = "gb18031"',), "did you mean 'gb18030'?"),
        (('quoting = "maybe"',), "has the unknown value 'maybe'"),
        (('format = "json"', "header = false"), "whose columns have names"),
    ],
)
def test_keys_that_do_not_fit(tmp_path: Path, keys: tuple[str, ...], said: str) -> None:
    assert said in refused(tmp_path, TSV, *keys)


def test_headers_that_are_not_as_the_card_says(tmp_path: Path) -> None:
    bare = TSV.removeprefix(HEAD)
    assert "line 1 looks like data, not like a header (今天天气怎么样, 今天下雨吗, 1); add header = false" in refused(
        tmp_path, bare
    )
    first = "1\t甲\t乙\n0\t丙\t丁\n"
    assert "add header = false to the card, and columns = { sentence1 = 1, sentence2 = 2, label = 0 }" in refused(
        tmp_path, first
    )
    assert 'set header = true and columns = { sentence1 = "sentence1"' in refused(tmp_path, TSV, "header = false")
    ids = "".join(f"{i}\t{line}\n" for i, line in enumerate(bare.splitlines()))
    said = refused(tmp_path, ids, "header = false")
    assert "its lines have 4 fields, not 3" in said and "positions from 0" in said
    more = "".join(f"{line}\t-\n" for line in bare.splitlines())
    assert rows_of(load(tmp_path, more, "header = false")) == ROWS
    r = "".join(f"{i}\t{line}\n" for i, line in enumerate(bare.splitlines()))
    assert "the first column has no name, as R writes row names" in refused(tmp_path, HEAD + r)
    assert "carriage returns only" in refused(tmp_path, TSV.replace("\n", "\r"))


# --- what a file is, whatever it is called


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "is a Git LFS pointer, not the data"),
        (b"<!DOCTYPE html>\n<html></html>", "is an HTML or XML page"),
        (b"\n <HTML><body>404", "is an HTML or XML page"),
        (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "is an HTML or XML page"),
        (b"%PDF-1.7\n", "is a PDF document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), "is an old Excel or Word document"),
        (b"\x28\xb5\x2f\xfd" + bytes(8), "is compressed with zstd, which is not supported"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(8), "is a 7z archive"),
        (bytes(257) + b"ustar\x0000", "is a tar archive"),
        (b"\x93NUMPY\x01\x00", "is a NumPy array"),
        (b"PAR1\x15\x04", 'is a parquet file; add format = "parquet"'),
        (TSV.encode("utf-16"), 'add encoding = "utf-16" to the card'),
        (HEAD.encode("utf-16-le"), "is UTF-16LE without a byte order mark"),
        (TSV.encode("utf-32"), "is UTF-32"),
        (json.dumps([{"a": 1}]).encode(), 'line 1 is JSON; add format = "jsonl"'),
    ],
)
def test_foreign_content_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refused(tmp_path, content)
    if content[:4] != b"PAR1" and b"UTF" not in said.encode():
        assert said in refused(tmp_path, gzip.compress(content), file="y.tsv.gz")


def test_archives(tmp_path: Path) -> None:
    def packed(*names: str) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name in names:
                archive.writestr(name, TSV)
        return out.getvalue()

    assert "is an Office file" in refused(tmp_path, packed("[Content_Types].xml", "xl/workbook.xml"), file="x.csv")
    assert "unpack it and name the file inside 'data.tsv'" in refused(tmp_path, packed("data.tsv"))
    assert "is a zip file, 'x.zip', which is not supported; unpack it" in refused(
        tmp_path, packed("data.tsv"), file="x.zip"
    )


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("xz", lzma.compress), ("bz2", bz2.compress)])
def test_compressed_files(tmp_path: Path, ending: str, pack: type) -> None:
    packed = pack(TSV.encode())
    assert rows_of(load(tmp_path, packed, file=f"x.tsv.{ending}")) == ROWS
    assert rows_of(load(tmp_path, packed, 'format = "tsv"', file=f"x.{ending}")) == ROWS
    assert rows_of(load(tmp_path, packed, file="x.tsv")) == ROWS  # by content, whatever the name
    assert "file is damaged or cut short" in refused(tmp_path, packed[:-9], file="x.tsv")


def test_several_xz_streams(tmp_path: Path) -> None:
    head, rest = TSV.encode()[:20], TSV.encode()[20:]
    assert rows_of(load(tmp_path, lzma.compress(head) + bytes(8) + lzma.compress(rest))) == ROWS
    # a decoder that would take gigabytes is not started
    greedy = lzma.compress(TSV.encode(), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30, "mf": lzma.MF_HC3}])
    assert "the xz file is damaged" in refused(tmp_path, greedy)


# --- encodings


@pytest.mark.parametrize("encoding", ["gb18030", "big5", "utf-16", "utf-16-le", "utf-16-be", "gbk"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    text = TSV if encoding != "big5" else HEAD + "今天天氣很好\t今天下雨嗎\t1\n怎麼退款\t如何修改地址\t0\n"
    said = refused(tmp_path, text.encode(encoding))
    found = "gb18030" if encoding == "gbk" else encoding
    assert f'encoding = "{found}"' in said and "iconv -f" in said
    pairs = load(tmp_path, text.encode(encoding), f'encoding = "{encoding}"')
    assert rows_of(pairs)[0][0] == text.splitlines()[1].split("\t")[0]


def test_utf8_in_a_card_that_says_otherwise(tmp_path: Path) -> None:
    for encoding in ("big5", "gb18030", "utf-16"):
        said = refused(tmp_path, TSV, f'encoding = "{encoding}"')
        assert f"not {encoding}; the file is UTF-8, so remove 'encoding' from the card" in said
    # what can be decoded all the same is not taken for text
    assert 'is not big5; the file seems to be GB18030: write encoding = "gb18030"' in refused(
        tmp_path, f"{HEAD}简体国务院话语\t说话对这个们\t1\n".encode("gb18030"), 'encoding = "big5"'
    )


def test_one_damaged_line_is_not_another_encoding(tmp_path: Path) -> None:
    said = refused(tmp_path, TSV.encode() + b"\xff\xfe\xff" + "甲\t乙\t1\n".encode())
    assert "line 5 is not UTF-8 (byte 1 of the line)" in said and "if only this line is damaged, correct it" in said
    said = refused(tmp_path, TSV.encode("gb18030") + b"\xff\n", 'encoding = "gb18030"')
    assert "line 5 is not gb18030; correct that line" in said


@pytest.mark.parametrize("text", ["怎么申请退款，什么时候到账？", "花呗可以提前还款吗\t可以\n"])
def test_detection(text: str) -> None:
    for encoding in ("gb18030", "utf-16-le", "utf-16-be"):
        assert detect_encoding(text.encode(encoding)) == encoding
    assert detect_encoding(bytes(range(128, 256))) == ""


# --- JSON


def test_shapes_of_json(tmp_path: Path) -> None:
    objects = [dict(zip(("sentence1", "sentence2", "label"), row, strict=True)) for row in ROWS]
    columns = {key: [o[key] for o in objects] for key in objects[0]}
    shapes = {
        "lines": "".join(json.dumps(o) + "\n" for o in objects),
        "list": json.dumps(objects),
        "indented": json.dumps(objects, indent=1),
        "columns": json.dumps(columns),
        "columns by number": json.dumps({k: dict(enumerate(v)) for k, v in columns.items()}),
        "rows by number": json.dumps(dict(enumerate(objects)), indent=1),
    }
    for shape, text in shapes.items():
        for file, keys in (("x.json", ()), ("x.jsonl", ()), ("x.txt", ('format = "json"',))):
            assert rows_of(load(tmp_path, text, *keys, file=file)) == ROWS, (shape, file)
    assert "with its rows under the key 'data'" in refused(tmp_path, json.dumps({"data": objects}), file="x.json")
    assert "item 1 of the JSON list is not an object" in refused(tmp_path, json.dumps(ROWS), file="x.json")
    assert "item 2 has no key 'label'" in refused(
        tmp_path,
        json.dumps([objects[0], {"sentence1": "a", "sentence2": "b"}]),
        file="x.json",
    )
    said = refused(tmp_path, json.dumps(objects, indent=1)[:-30], file="x.json")
    assert "is not JSON" in said
    uneven = json.dumps({**columns, "label": [1]})
    assert "line 1 holds lists of 3, 3, 1 values" in refused(tmp_path, uneven, file="x.json")


def test_parquet_as_libraries_write_it(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    first, second, labels = (list(c) for c in zip(*ROWS, strict=True))

    def packed(first: object, second: object, labels: object) -> bytes:
        out = io.BytesIO()
        pq.write_table(pa.table({"sentence1": first, "sentence2": second, "label": labels}), out)
        return out.getvalue()

    kinds = (
        (first, second, [bool(y) for y in labels]),
        (pa.array(first).dictionary_encode(), second, pa.array([str(y) for y in labels]).dictionary_encode()),
        ([first], [second], [labels]),  # mteb's pairs: one row of lists
        (first, second, pa.array(labels, pa.float32())),
    )
    for one, two, three in kinds:
        assert rows_of(load(tmp_path, packed(one, two, three), file="x.parquet")) == ROWS
    said = refused(tmp_path, packed(first, second, [1, None, 0]), file="x.parquet")
    assert "row 2: the label is missing; add it, or remove the line from the file" in said


# --- labels


def tsv(*labels: object) -> str:
    return HEAD + "".join(f"句子{i}\t另一句{i}\t{y}\n" for i, y in enumerate(labels))


@pytest.mark.parametrize(
    ("labels", "want"),
    [
        (("1.0", "0.0"), [1, 0]),
        (("true", "false"), [1, 0]),
        (("True", "FALSE"), [1, 0]),
        ((" 1", "0 "), [1, 0]),
    ],
)
def test_labels_of_a_binary_card(tmp_path: Path, labels: tuple[str, ...], want: list[int]) -> None:
    assert load(tmp_path, tsv(*labels)).labels.tolist() == want


@pytest.mark.parametrize(
    ("labels", "card", "said"),
    [
        (
            ("entailment", "neutral", "entailment"),
            BINARY,
            "the words found are 'entailment' (2), 'neutral' (1): give the value of each, like map = "
            '{ "entailment" = 1, "neutral" = 0 }',
        ),
        (("好", "坏", "好"), BINARY, 'like map = { "好" = ..., "坏" = ... }'),
        ((1, -1, 1), BINARY, 'map = { "1" = 1, "-1" = 0 } }, or labels = { scale = [-1, 1] }, in the card'),
        ((0, 1, 5), BINARY, 'the labels range from 0 to 5: if they are right, write labels = { scale = [0, 5], kind'),
        ((1, 0, -1), BINARY, "line 4: the label must be 0 or 1 in a binary card, not '-1'; a label of -1 marks a pair without"),
        ((-1, -1), BINARY, "every label is -1, which marks hidden labels"),
        (("", ""), BINARY, "every label is missing"),
        (("?", "NA"), GRADED, "every label is missing"),
        ((3, 3), GRADED, "every label is 3, and constant labels have no correlation"),
        ((1, "", 0), BINARY, "line 3: the label is missing; add it, or remove the line from the file"),
        ((1, 7), GRADED, "line 3: the label must lie in 0..5, not '7'; the labels range from 1 to 7"),
        (("true", "1"), GRADED, "line 2: the label must be a number, not 'true'"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit_the_card(tmp_path: Path, labels: tuple[object, ...], card: str, said: str) -> None:
    assert said in refused(tmp_path, tsv(*labels), labels=card)


def test_a_map_says_what_labels_mean(tmp_path: Path) -> None:
    card = 'labels = { scale = [0, 1], kind = "binary", map = { entailment = 1, neutral = 0, contradiction = 0 } }'
    assert load(tmp_path, tsv("entailment", "neutral", "contradiction"), labels=card).labels.tolist() == [1, 0, 0]
    said = refused(tmp_path, tsv("entailment", "-"), labels=card)
    assert "line 3: the label must be one of labels.map in the card" in said and "not '-'" in said
    signs = 'labels = { scale = [0, 1], kind = "binary", map = { "1" = 1, "-1" = 0 } }'
    assert load(tmp_path, tsv("1.0", "-1"), labels=signs).labels.tolist() == [1, 0]
    lines = "".join(json.dumps({"sentence1": "甲", "sentence2": str(y), "label": y}) + "\n" for y in (1, -1))
    assert load(tmp_path, lines, file="x.jsonl", labels=signs).labels.tolist() == [1, 0]
    wrong = 'labels = { scale = [0, 1], kind = "binary", map = { a = 2 } }'
    assert "key 'labels.map.a' must be 0 or 1, not 2" in refused(tmp_path, TSV, labels=wrong)


def test_odd_pairs_are_notes_and_no_mistakes(tmp_path: Path) -> None:
    rows = [("甲", "乙", 1), ("甲", "乙", 1), ("乙", "甲", 0), ("丙", "丙", 0), ("丙", "丙", 1), ("丁", "戊", 0)]
    pairs = load(tmp_path, HEAD + "".join(f"{a}\t{b}\t{y}\n" for a, b, y in rows))
    assert rows_of(pairs) == rows
    assert pairs.notes == (
        "mine:test: 2 pairs repeat an earlier pair (lines 3 and 6)",
        "mine:test: 1 pair repeats an earlier pair in the other order (line 4)",
        "mine:test: 2 pairs contradict an earlier pair: the same two sentences with a different label (lines 4 and 6)",
        "mine:test: 1 pair holds the same sentence twice and a low label (line 5)",
    )
    assert load(tmp_path, TSV).notes == ()
