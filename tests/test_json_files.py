"""JSON of ours is read as its type says, or refused in one sentence: file, key, what is wrong, remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from helpers import runs

from hengyu.base.errors import HengyuError
from hengyu.base.json_files import find_json, parse, read_json, shaped
from hengyu.storage.records import Record, load_run

RUN = runs.make_run(sweep=False)
KINDS: list[tuple[Any, bytes]] = [
    (int, b"true"),
    (int, b"1.0"),
    (int, b'"1"'),
    (float, b"false"),
    (float, b'"nan"'),
    (float, b"NaN"),
    (float, b"-Infinity"),
    (float, b"1e999"),
    (float, b"1" + b"0" * 400),
    (bool, b"1"),
    (str, b"1"),
    (str, b"null"),
    (str, b'"\xff"'),
    (list[str], b'["a", 1]'),
    (dict[str, float], b"[]"),
    (dict[str, float], b'{"a": null}'),
]


@pytest.mark.parametrize(("kind", "raw"), KINDS)
def test_a_value_of_another_type_is_refused(kind: Any, raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="not JSON|it is not as it was written|key '.*' is not as it was written"):
        parse(raw, kind)
    with pytest.raises(HengyuError, match=r"x\.json: .*; do this$"):
        read_json(path, kind, "do this")
    assert find_json(path, kind) is None


def test_a_whole_number_is_a_number_and_unknown_keys_are_left_out() -> None:
    assert parse(b"\xef\xbb\xbf3", float) == 3.0 and type(parse(b"3", float)) is float
    row = {f.name: getattr(RUN.records[0], f.name) for f in fields(Record)}
    assert shaped({**row, "of a later version": [1]}, Record) == RUN.records[0]


def test_malformed_json_is_told_by_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{\n "a": 1,\n "b" 2\n}', encoding="utf-8")
    with pytest.raises(HengyuError, match=r"x\.json: not JSON \(.*line 3 column 6.*\); again$"):
        read_json(tmp_path / "x.json", dict[str, int], "again")
    with pytest.raises(HengyuError, match=r"y\.json: cannot be read \(No such file or directory\); again$"):
        read_json(tmp_path / "y.json", dict[str, int], "again")


def _record(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["records"][2].update(values)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (
            "records.json",
            _record(value="0.5"),
            r"key 'records\[2\]\.value' is not as .*Expected float \| null, got str",
        ),
        ("records.json", _record(n=True), r"key 'records\[2\]\.n' is not as it was written \(Expected int, got bool\)"),
        ("records.json", _record(n=-1), r"key 'records\[2\]\.n' is not as it was written \(Expected int >= 0\)"),
        ("records.json", lambda c: c["records"][2].pop("status"), r"key 'records\[2\]\.status' is missing"),
        ("records.json", lambda c: c.update(records=3), "key 'records' is not as .*Expected array, got int"),
        ("records.json", lambda c: c.update(schema=2), "schema 2 where this version reads 1"),
        ("records.json", lambda c: c.update(schema=True), "schema True where this version reads 1"),
        ("run.json", lambda c: c.pop("run"), "key 'run' is missing"),
        ("run.json", lambda c: c["suite"].update(level=1), r"key 'suite\.level' is not as .*Expected float < 1\.0"),
        ("run.json", lambda c: c["tasks"][1].update(n="x"), r"key 'tasks\[1\]\.n' is not as .*Expected int, got str"),
        (
            "environment.json",
            lambda c: c.update(python=3),
            r"key '\[\.\.\.\]' is not as .*Expected str \| array, got int",
        ),
    ],
)
def test_what_a_run_holds_is_told_by_file_and_key(
    name: str, change: Callable[[dict[str, Any]], object], words: str, tmp_path: Path
) -> None:
    folder = runs.write_run(RUN, tmp_path)
    (folder / "sums.json").unlink()
    content = json.loads((folder / name).read_bytes())
    change(content)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(HengyuError, match=rf"{name}: {words}.*; run the suite again$") as e:
        load_run(folder)
    assert len(e.value.problems) == 1


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    found = load_run(runs.write_run(RUN, tmp_path))
    assert (found.header, found.environment) == (RUN.header, RUN.environment)
    assert [replace(r, seconds=None) for r in found.records] == [replace(r, seconds=None) for r in RUN.records]
    assert found.differences == RUN.differences and found.standings == RUN.standings
