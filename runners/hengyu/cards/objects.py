"""Objects: JSON lines, and single JSON values: a list of objects, or columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.cards.columns import Rows, Wanted, choice

__all__ = ["indexed", "read_objects", "refuse_nested", "spread"]

_LINES = "write one object per line"


def read_objects(lines: Iterable[str], where: str, wanted: Sequence[Wanted]) -> Rows:
    """Read columns of JSON lines, of one list of objects, or of one object of columns; raises `HengyuError`.

    A file that begins with ``[`` is one list, as written by `pandas.DataFrame.to_json(orient="records")`. It is held in
    memory, and so is one that begins with an object over several lines.
    """
    following = iter(lines)
    first = next(following, None)
    if first is None:
        return Rows("line", tuple([] for _ in wanted))
    start = first.lstrip()
    if start.startswith("["):
        second = next(following, None)
        if second is None or not second.lstrip().startswith(("[", "{")) or not _whole(first):
            return _one_value("\n".join(chain([first], [] if second is None else [second], following)), where, wanted)
        following = chain([second], following)
    elif start.startswith("{"):
        second = next(following, None)
        whole = _whole(first)
        if whole and second is None:
            return _one_value(first, where, wanted)
        if not whole and second is not None and not second.lstrip().startswith("{"):
            return _one_value("\n".join(chain([first, second], following)), where, wanted)
        following = chain([] if second is None else [second], following)
    return spread(_read_lines(chain([first], following), where, wanted), where)


def _whole(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _read_lines(lines: Iterable[str], where: str, wanted: Sequence[Wanted]) -> Rows:
    rows = Rows("line", tuple([] for _ in wanted))
    for number, line in enumerate(lines, 1):
        if not line.strip():
            rows.malformed[number] = ("a line must be a JSON object", "empty")
            continue
        try:
            item = json.loads(line)
        except RecursionError:
            raise HengyuError(f"{where}: line {number} is nested too deeply; write one flat object per line") from None
        except ValueError as e:
            raise HengyuError(f"{where}: line {number} is not JSON ({e}); {_LINES}") from None
        if not isinstance(item, dict):
            raise HengyuError(f"{where}: line {number} is not a JSON object; {_LINES}, like {{...}}")
        rows.add(number, _pick(item, where, f"line {number}", wanted))
    return rows


def _one_value(text: str, where: str, wanted: Sequence[Wanted]) -> Rows:
    try:
        value = json.loads(text)
    except RecursionError:
        raise HengyuError(f"{where}: line 1 is nested too deeply; {_LINES}, or one flat list of objects") from None
    except ValueError as e:
        raise HengyuError(
            f"{where}: line {getattr(e, 'lineno', 1)} is not JSON ({e}); {_LINES}, or one complete list of objects"
        ) from None
    rows = Rows("item", tuple([] for _ in wanted))
    if isinstance(value, dict):
        if not indexed(value):
            return _columns(value, where, wanted)
        value = list(value.values())
    for number, item in enumerate(value, 1):
        if not isinstance(item, dict):
            raise HengyuError(
                f"{where}: item {number} of the JSON list is not an object; write one object per pair, like "
                '{"sentence1": ..., "sentence2": ..., "label": ...}'
            )
        rows.add(number, _pick(item, where, f"item {number}", wanted))
    if not value:
        return rows
    rows.notes.append("the file is one JSON list and was read as such")
    return spread(rows, where)


def _columns(value: Mapping[str, Any], where: str, wanted: Sequence[Wanted]) -> Rows:
    refuse_nested(value, where)
    rows = Rows("line", tuple([] for _ in wanted))
    rows.add(1, _pick(value, where, "line 1", wanted))
    for column in rows.columns:
        if isinstance(column[0], dict):  # pandas' orient="columns": {"0": ..., "1": ...}
            column[0] = list(column[0].values())
    return spread(rows, where)


def indexed(value: Mapping[str, Any]) -> bool:
    """Whether an object holds rows by number, as written by `pandas.DataFrame.to_json(orient="index")`."""
    return bool(value) and all(key.isdecimal() and isinstance(row, dict) for key, row in value.items())


def refuse_nested(value: Mapping[str, Any], where: str) -> None:
    """Raise `HengyuError` for an object with its rows under a key."""
    for key, rows in value.items():
        if isinstance(rows, list) and rows and isinstance(rows[0], (dict, list)):
            raise HengyuError(
                f"{where}: is one JSON object with its rows under the key '{key}'; write them as JSON lines, as pandas "
                'does with to_json(orient="records", lines=True)'
            )


def _pick(item: Mapping[str, Any], where: str, place: str, wanted: Iterable[Wanted]) -> list[Any]:
    names = [choice(one, item) for one in wanted]
    for name in names:
        if name is not None and name not in item:
            raise HengyuError(f"{where}: {place} has no key '{name}'{did_you_mean(name, item)}")
    return ["" if name is None else item[name] for name in names]


def spread(rows: Rows, where: str) -> Rows:
    """Turn rows of lists, as mteb publishes pairs (one row with a list per column), into one row per item."""
    if not rows.numbers or not all(isinstance(v, list) for column in rows.columns for v in column):
        return rows
    out = Rows("item", tuple([] for _ in rows.columns), notes=rows.notes)
    for number, *lists in zip(rows.numbers, *rows.columns, strict=True):
        sizes = [len(one) for one in lists]
        if len(set(sizes)) > 1:
            raise HengyuError(
                f"{where}: {rows.unit} {number} holds lists of {', '.join(map(str, sizes))} values, but a pair needs one "
                "of each; get the file again"
            )
        for values in zip(*lists, strict=True):
            out.add(len(out.numbers) + 1, values)
    out.notes.append(f"a row of lists was read as {len(out.numbers)} rows, as in mteb's datasets")
    return out
