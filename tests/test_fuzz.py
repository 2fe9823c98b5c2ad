"""Whatever stands in a file, it is read right or refused in a sentence: no traceback, no hang, no wrong number.

Every test takes a file that is right and changes it, by its bytes or by its values, so that most of a reader is reached.
HENGYU_SOAK=N multiplies the examples; with 100, as `make soak` sets it, every reader gets 10,000 or more.
"""

from __future__ import annotations

import copy
import csv
import gzip
import io
import json
import math
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import runs
from helpers.simulated import DESIGNS, labelled, versions
from helpers.simulated import scores as simulated_scores
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hengyu.base.errors import HengyuError
from hengyu.cards import load_card
from hengyu.cards.card import Columns
from hengyu.cards.checks import check_rows, check_split
from hengyu.cards.rows import read_rows
from hengyu.evaluation.gate.baselines import baseline_of, changes, read_baseline, write_baseline
from hengyu.evaluation.gate.gate import judge
from hengyu.evaluation.gate.rules import parse_rule, read_rules
from hengyu.evaluation.run_metrics import scores_of
from hengyu.methods.grammar import parse_entry
from hengyu.report.board.board import make_board, metrics_of
from hengyu.report.charts.angles import angles
from hengyu.report.exports.table import export
from hengyu.report.gate.text import gate_json, gate_markdown
from hengyu.report.page.leaderboard import render
from hengyu.report.page.provenance import sheets
from hengyu.storage.records import Record, Run, Standing, load_run, write_json
from hengyu.storage.records.clouds import load_clouds
from hengyu.suites.suite import load_suite

SOAK = int(os.environ.get("HENGYU_SOAK", "0"))


SLOW = 50  # examples of a test that makes whole pages or trains: fewer are drawn of it, at length too


def fuzz(examples: int) -> settings:
    many = max(examples * max(1, SOAK // 5), 100 * SOAK if examples > SLOW else 0)
    return settings(
        max_examples=many,
        deadline=timedelta(seconds=20),  # a hang is a failure
        suppress_health_check=list(HealthCheck),
        derandomize=not SOAK,
        database=None,
    )


# --- how files are changed ---

NASTY = st.sampled_from(
    [
        *("", "\0", "\x1b[2J", "../../x", "/etc/x", "..", "nan", "NaN", "inf", "1e999", "<script>", "\ud800", "=1+1"),
        *("LCQMC:test", "none", "target", "whitening(dim=8)", "raw", "\u2028", "长" * 300),
    ]
)
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, 5e-324, math.nan, math.inf, -0.0]),
)
ATOMS = st.one_of(NASTY, NUMBERS, st.booleans(), st.text(max_size=12))
VALUES = st.recursive(
    ATOMS | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def changed(draw: st.DrawFn, whole: Any, values: st.SearchStrategy[Any] = VALUES) -> Any:
    """A document with one to three of its values replaced, taken out, doubled or renamed."""
    content = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        node, steps = content, draw(st.integers(1, 5))
        for depth in range(steps):
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inner = node[key]
            if depth < steps - 1 and isinstance(inner, dict | list) and inner:
                node = inner
                continue
            what = draw(st.sampled_from(["replace", "replace", "replace", "remove", "double", "rename"]))
            if what == "replace":
                node[key] = draw(values)
            elif what == "remove":
                del node[key]
            elif isinstance(node, dict):
                node[draw(st.text(max_size=8))] = node.pop(key) if what == "rename" else inner
            else:
                node.insert(key, inner)
            break
    return content


@st.composite
def broken(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with bytes flipped, taken out, put in, doubled, or cut short."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        if not content:
            break
        at = draw(st.integers(0, len(content) - 1))
        until = min(len(content), at + draw(st.integers(1, 30)))
        what = draw(st.sampled_from(["flip", "remove", "insert", "double", "cut", "nest"]))
        if what == "flip":
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "remove":
            del content[at:until]
        elif what == "insert":
            content[at:at] = draw(st.binary(min_size=1, max_size=12))
        elif what == "double":
            content[at:at] = content[at:until] * draw(st.integers(1, 3))
        elif what == "cut":
            del content[at:]
        else:
            content[at:at] = draw(st.sampled_from([b"[", b"{", b'{"a":', b"(", b'"'])) * draw(
                st.sampled_from([3, 5000])
            )
    return bytes(content)


def toml(content: Any) -> str:
    """Write TOML; what TOML cannot hold (None, half a surrogate) becomes a word."""

    def value(item: Any) -> str:
        if isinstance(item, bool):
            return str(item).lower()
        if isinstance(item, int):
            return hex(item) if item > 10**300 else str(item)
        if isinstance(item, float):
            return repr(item)
        if isinstance(item, list):
            return f"[{', '.join(map(value, item))}]"
        if isinstance(item, dict):
            return "{" + ", ".join(f"{value(str(k))} = {value(v)}" for k, v in item.items()) + "}"
        text = str(item).encode("utf-8", "replace").decode()
        return json.dumps(text, ensure_ascii=True).replace("\x7f", "\\u007f")

    return "".join(f"{value(str(k))} = {value(v)}\n" for k, v in content.items())


def refused_or(read: Callable[[], Any]) -> Any:
    """Read, or be refused in sentences: each of one line of words, of bounded length, with something in it."""
    try:
        return read()
    except HengyuError as e:
        for problem in e.problems:
            assert problem.strip() and len(problem) < 5000
        return None


# --- declarations ---

SUITE: dict[str, Any] = {
    "name": "fuzzed",
    "title": "一个标题",
    "tasks": ["LCQMC:test", "hengyu-sts:test"],
    "encoders": ["hengyu-mini", {"model": "x/y", "max_length": 64, "dtype": "bfloat16", "prompt": "“{text}”"}],
    "poolings": ["mean", "cls"],
    "baselines": ["random"],
    "fit_on": "target",
    "aggregate": "avg",
    "seed": 3,
    "resamples": 100,
    "level": 0.9,
    "entries": [
        "raw",
        "whitening(dim=8, floor=0.0)",
        {"entry": "pca", "dims": [4, 8], "fit_on": "train"},
        {"entry": "flow", "seeds": 2},
        {"entry": "whitening", "dims": "all"},
    ],
    "compare": [["pca(dim=4)", "raw"]],
}
CARD: dict[str, Any] = {
    "name": "fuzzed",
    "title": "一个数据集",
    "labels": {"scale": [0, 5], "kind": "graded"},
    "columns": {"sentence1": "a", "sentence2": 1, "label": "c"},
    "malformed": "drop",
    "licence": "CC0-1.0",
    "hub": {"id": "a/b", "revision": "0" * 40, "sha256": {"x.csv": "0" * 64}},
    "splits": {"test": {"file": "x/test.tsv", "rows": 3, "sha256": "0" * 64}, "valid": {"file": "v.csv", "hub": "dev"}},
}
RULES: dict[str, Any] = {
    "tolerance": 1.0,
    "rules": [{"task": "ATEC:*", "entry": "whitening*", "tolerance": "2%"}, {"cell": "*", "floor": 25.0}],
}


@fuzz(120)
@given(data=st.data())
def test_suites_by_value(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz-suite.toml"
    path.write_text(toml(data.draw(changed(SUITE))), encoding="utf-8")
    suite = refused_or(lambda: load_suite(path))
    if suite:
        assert suite.tasks and suite.poolings and 0.5 <= suite.level < 1 and 20 <= suite.resamples <= 100_000
        assert "/" not in suite.name and not suite.name.startswith(".")
        assert [str(parse_entry(str(e.entry))) for e in suite.entries] == [str(e.entry) for e in suite.entries]


@fuzz(120)
@given(data=st.data())
def test_cards_by_value(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz-card.toml"
    path.write_text(toml(data.draw(changed(CARD))), encoding="utf-8")
    card = refused_or(lambda: load_card(path))
    if card:
        assert math.isfinite(card.scale[0]) and card.scale[0] < card.scale[1]
        for word in (card.name, *card.splits):
            assert "/" not in word and not word.startswith(".")
        for split in card.splits:
            beside = refused_or(lambda split=split: card.default_path(split))
            assert beside is None or beside.resolve().is_relative_to(path.parent.resolve())


@fuzz(80)
@given(data=st.data())
def test_rules_by_value(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz-rules.toml"
    path.write_text(toml(data.draw(changed(RULES))), encoding="utf-8")
    rules = refused_or(lambda: read_rules(path))
    for rule in rules.rules if rules else ():
        assert rule.floor is None or -1 <= rule.floor <= 1
        assert rule.tolerance is None or (math.isfinite(rule.tolerance.size) and rule.tolerance.size >= 0)


@pytest.mark.parametrize("content, read", [(SUITE, load_suite), (CARD, load_card), (RULES, read_rules)])
def test_declarations_by_byte(content: Any, read: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / "x.toml"

    @fuzz(60)
    @given(broken(toml(content).encode()))
    def check(raw: bytes) -> None:
        path.write_bytes(raw)
        refused_or(lambda: read(path))

    check()


WORDS = [
    "whitening",
    "pca",
    "flow",
    "abtt",
    "l2",
    "raw",
    "(",
    ")",
    "=",
    ",",
    ">",
    "dim",
    "top",
    "gamma",
    "seed",
    "8",
    "-1",
]
WORDS += ["1e400", "nan", "true", '"', '"x"', "9" * 30, "9" * 5000, " ", "\0", "长", "\x1b[31m"]


@fuzz(300)
@given(st.lists(st.sampled_from(WORDS), max_size=14).map("".join) | st.text(max_size=30))
def test_entries(text: str) -> None:
    entry = refused_or(lambda: parse_entry(text))
    if entry:
        assert parse_entry(str(entry)) == entry


@fuzz(100)
@given(
    st.text(max_size=12)
    | st.lists(st.sampled_from(["BQ:*", "=", "%", "1", "nan", "1e999", "-"]), max_size=5).map("".join)
)
def test_tolerances(text: str) -> None:
    rule = refused_or(lambda: parse_rule(text))
    assert rule is None or (rule.tolerance is not None and math.isfinite(rule.tolerance.size))


# --- data ---

ROWS = [("今天天气真好", "天气不错", "1"), ("“引号”, 逗号", 'a "b" c', "0"), ("甲", "乙", "1"), ("𠀀", "e\u0301", "0")]
COLUMNS = Columns("a", "b", "c")


def as_tsv() -> bytes:
    return "\n".join("\t".join(r) for r in [("a", "b", "c"), *ROWS]).encode()


def as_csv() -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([("a", "b", "c"), *ROWS])
    return out.getvalue().encode()


def as_jsonl() -> bytes:
    return "".join(json.dumps(dict(zip("abc", r, strict=True))) + "\n" for r in ROWS).encode()


def as_parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = pa.BufferOutputStream()
    columns = dict(zip("abc", map(list, zip(*ROWS, strict=True)), strict=True))
    pq.write_table(pa.table({**columns, "c": [1, 0, 1, 0]}), out)
    return out.getvalue().to_pybytes()


def read_pairs(raw: bytes, form: str, card: Any) -> Any:
    rows = read_rows(raw, "x", format=form, header=True, columns=COLUMNS)
    checked = check_rows(rows, card, "x")
    check_split(checked.labels, card, "x")
    return checked


@pytest.mark.parametrize("form, make", [("tsv", as_tsv), ("csv", as_csv), ("jsonl", as_jsonl), ("parquet", as_parquet)])
@pytest.mark.parametrize("packed", [False, True])
def test_data_by_byte(form: str, make: Callable[[], bytes], packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "card.toml"
    path.write_text(toml({**CARD, "labels": {"scale": [0, 1], "kind": "binary"}}), encoding="utf-8")
    card = load_card(path)
    whole = make()
    assert len(read_pairs(whole, form, card).labels) == len(ROWS)

    @fuzz(60)
    @given(broken(gzip.compress(whole, mtime=0) if packed else whole))
    def check(raw: bytes) -> None:
        checked = refused_or(lambda: read_pairs(raw, form, card))
        if checked:
            assert len(checked.first) == len(checked.second) == len(checked.labels) > 0
            assert set(checked.labels.tolist()) == {0.0, 1.0}
            for sentence in (*checked.first, *checked.second):
                assert sentence.strip() and sentence.encode("utf-8")

    check()


@fuzz(100)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), VALUES, max_size=4), max_size=4))
def test_json_lines_by_value(items: list[dict[str, Any]]) -> None:
    card = load_card_of({"scale": [0, 5]})
    raw = "".join(json.dumps(item) + "\n" for item in items).encode()
    checked = refused_or(lambda: read_pairs(raw, "jsonl", card))
    if checked:
        assert np.isfinite(checked.labels).all() and (checked.labels >= 0).all() and (checked.labels <= 5).all()


def load_card_of(labels: dict[str, Any]) -> Any:
    from hengyu.cards.card import Card, Split

    return Card(
        "x", Path("x.toml"), tuple(labels["scale"]), "graded", {"test": Split("test", "x.tsv")}, malformed="drop"
    )


@fuzz(60)
@given(st.lists(st.sampled_from(range(9)), min_size=3, max_size=3), st.integers(0, 3))
def test_parquet_of_any_types(kinds: list[int], rows: int) -> None:
    import datetime
    import decimal

    import pyarrow as pa
    import pyarrow.parquet as pq

    samples: list[tuple[Any, Any]] = [
        (pa.string(), "句子"),
        (pa.float64(), 2.5),
        (pa.int64(), 2**62),
        (pa.timestamp("ns"), datetime.datetime(2020, 1, 1)),
        (pa.decimal128(9, 2), decimal.Decimal("1.50")),
        (pa.list_(pa.string()), ["a"]),
        (pa.struct({"x": pa.int8()}), {"x": 1}),
        (pa.binary(), b"\xff"),
        (pa.dictionary(pa.int8(), pa.string()), "句"),
    ]
    arrays = [pa.array([samples[k][1]] * rows, samples[k][0]) for k in kinds]
    out = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, names=["a", "b", "c"]), out)
    checked = refused_or(lambda: read_pairs(out.getvalue().to_pybytes(), "parquet", load_card_of({"scale": [0, 5]})))
    assert checked is None or np.isfinite(checked.labels).all()


# --- records and baselines ---


def a_few_rows(run: Run) -> Run:
    """Keep the rows of one pooling, where every status occurs: all of a run is made anew for every example."""
    _, other = runs.ENCODERS

    def among(row: Record | Standing) -> bool:
        return row.pooling in ("cls", "-", "") and (row.encoder != other or row.entry == "raw")

    return replace(run, records=tuple(filter(among, run.records)), standings=tuple(filter(among, run.standings)))


RUN = a_few_rows(runs.make_run(sweep=False))
assert {r.status for r in RUN.records} == {"ok", "failed", "degenerate", "unavailable", "incomplete"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = runs.write_run(RUN, tmp_path_factory.mktemp("fuzz-run"))
    (folder / "sums.json").unlink()  # with it every change would be found before anything is read
    return folder


def use(folder: Path, *, page: bool) -> None:
    """Read a run back and make everything of it that can be made."""
    run = load_run(folder)
    angles(load_clouds(folder))
    assert "/" not in run.id and not run.id.startswith(".")
    for record in run.records:
        for number in (record.value, record.low, record.high, record.delta):
            assert number is None or math.isfinite(number)
    for metric in metrics_of(run):
        make_board(run, metric)
    for kind in ("csv", "json", "md", "latex"):
        export(run, kind)
    sheets(run, {})
    scores = scores_of(run)
    with suppress(HengyuError):
        judge(scores, scores)
    with suppress(HengyuError):
        new, _ = baseline_of(run)
        assert "/" not in new.suite and not new.suite.startswith(".")
    if page:
        assert "<script>alert" not in render(run)


@pytest.mark.parametrize("name", ["run.json", "records.json", "clouds.json", "timings.json", "environment.json"])
def test_runs_by_value(written: Path, name: str) -> None:
    whole = json.loads((written / name).read_bytes())
    if name == "clouds.json":
        whole["clouds"] = whole["clouds"][::10]
    if name == "records.json":
        whole["records"] = whole["records"][::10]
        whole["differences"] = [
            {"task": "t", "encoder": "e", "pooling": "p", "fit_on": "none", "entry": "a", "against": "b"}
            | {"n": 3, "value": 0.1, "low": 0.0, "high": 0.2}
        ]
    pages = [0]

    @fuzz(60)
    @given(changed(whole))
    def check(content: Any) -> None:
        (written / name).write_text(json.dumps(content), encoding="utf-8")
        pages[0] += 1
        refused_or(lambda: use(written, page=pages[0] % 20 == 0 or (name == "clouds.json" and pages[0] % 5 == 0)))

    before = (written / name).read_bytes()
    try:
        check()
    finally:
        (written / name).write_bytes(before)


@pytest.mark.parametrize("name", ["run.json", "records.json", "clouds.json"])
def test_runs_by_byte(written: Path, name: str) -> None:
    before = (written / name).read_bytes()

    @fuzz(60)
    @given(broken(before))
    def check(raw: bytes) -> None:
        (written / name).write_bytes(raw)
        refused_or(lambda: use(written, page=False))

    try:
        check()
    finally:
        (written / name).write_bytes(before)


def test_baselines_by_value_and_by_byte(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    z, labels = labelled(rng, 300, DESIGNS["graded 0..5"])
    first, second = versions(rng, z, (0.6, 0.5), 0.9)
    now = simulated_scores(tmp_path / "now", labels, {"entry": first, "other": second})
    path = tmp_path / "b.json"
    write_json(tmp_path / "now" / "unused.json", {})
    from hengyu.evaluation.paired import keep_blocks

    blocks, about, _ = keep_blocks(now)
    tasks = {name: {**of, **about[name]} for name, of in now.tasks.items()}
    write_baseline(path, replace(now, tasks=tasks, blocks=blocks, folder=None))
    whole = path.read_bytes()
    kept = read_baseline(path)
    unsealed = {k: v for k, v in json.loads(whole).items() if k != "sha256"}

    def compare() -> None:
        read = read_baseline(path)
        for number in read.cells.values():
            assert number.value is not None and -1 <= number.value <= 1
        changes(read, kept)
        judged = judge(read, now)
        gate_json(judged)
        gate_markdown(judged)

    @fuzz(150)
    @given(changed(unsealed))
    def by_value(content: Any) -> None:
        path.write_text(json.dumps(content), encoding="utf-8")
        refused_or(compare)

    @fuzz(100)
    @given(broken(whole))
    def by_byte(raw: bytes) -> None:
        path.write_bytes(raw)
        read = refused_or(lambda: read_baseline(path))
        assert read is None or (read.cells == kept.cells and read.tasks == kept.tasks)

    by_value()
    by_byte()
