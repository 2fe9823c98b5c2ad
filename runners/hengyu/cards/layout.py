"""Layout: a file of pairs as columns of values, before it is known which of them are sentences and label."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hengyu.base.errors import HengyuError
from hengyu.cards.card import COMPRESSED, FORMATS
from hengyu.cards.content import decode, detect_encoding, not_utf8
from hengyu.cards.delimited import SEPARATORS, carriage_returns, csv_records, fields_of, nameless, raw_lines
from hengyu.cards.objects import indexed, refuse_nested
from hengyu.cards.rows import parquet_names, quoting_of, read_columns, unpacked

__all__ = ["Layout", "Wishes", "format_by_ending", "read_layout"]


@dataclass(frozen=True)
class Wishes:
    """The user's settings for a file; what is None or empty is guessed."""

    columns: tuple[str, ...] = ()  # sentence, sentence, label: names, or positions from 0
    header: bool | None = None
    separator: str = ""
    encoding: str = ""
    quoting: str = ""
    kind: str = ""  # "binary" or "graded"
    scale: tuple[float, float] | None = None
    label_map: tuple[tuple[str, float], ...] = ()


@dataclass
class Layout:
    """A file as columns of values, before it is known which of them are sentences and label."""

    format: str
    names: list[str]  # of the columns; [] for a text file whose header is still unknown
    columns: list[list[Any]]
    separator: str = ""
    quoting: str = "auto"
    encoding: str = "utf-8"
    lines: int = 0
    ragged: int = 0  # lines with a different number of fields


def format_by_ending(file: Path) -> str:
    """Return the format of a file's extension, "" if unknown."""
    name = file.name.lower()
    name = next((name[: -len(e)] for e in COMPRESSED if name.endswith(e)), name)
    return FORMATS.get(Path(name).suffix, "")


def read_layout(content: bytes, file: Path, wishes: Wishes) -> Layout:
    """Read a file of any format by its content; raises `HengyuError` if it is not a table."""
    where = str(file)
    if _starts(content, where, b"PAR1"):
        names = parquet_names(content, where)
        rows = read_columns(content, where, format="parquet", header=True, wanted=names)
        return Layout("parquet", names, list(rows.columns), lines=len(rows.numbers))
    # accepts UTF-16 as well: the argument may name an encoding
    raw = unpacked(content, where, "utf-8")
    encoding = wishes.encoding or _encoding(raw, where)
    text = decode(raw, where, encoding)
    if text.lstrip()[:1] in ("{", "["):
        table = _json(text, where)
        if table:
            table.encoding = encoding
            table.format = "json" if format_by_ending(file) == "json" else "jsonl"
            return table
    return _delimited(text, file, encoding, wishes)


def _starts(content: bytes, where: str, magic: bytes) -> bool:
    return content.startswith(magic) or unpacked(content, where, "parquet")[:4] == magic


def _encoding(raw: bytes, where: str) -> str:
    if raw[:2] not in (b"\xff\xfe", b"\xfe\xff") and b"\0" not in raw[:400]:
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError as e:
            found = detect_encoding(raw)
            if not found:
                number = raw.count(b"\n", 0, e.start) + 1
                raise not_utf8(where, number, e.start - raw.rfind(b"\n", 0, e.start), raw) from None
            return found
        return "utf-8"
    return detect_encoding(raw) or "utf-8"


def _json(text: str, where: str) -> Layout | None:
    """Return JSON as a table; None for other text that happens to begin with a bracket."""
    first = text.lstrip().split("\n", 1)[0]
    try:
        item = json.loads(first)
    except (ValueError, RecursionError):
        try:
            item = json.loads(text)
        except (ValueError, RecursionError):
            if not re.match(r'\s*(\[\s*)?\{\s*"', text):
                return None
            item = {}
    if isinstance(item, dict):
        refuse_nested(item, where)
        item = list(item.values()) if indexed(item) else item
    one = item[0] if isinstance(item, list) and item else item
    if not isinstance(one, dict):
        read_columns(text.encode(), where, format="jsonl", header=True, wanted=())  # raises the precise error
        return None
    names = list(one)
    if not names:
        read_columns(text.encode(), where, format="jsonl", header=True, wanted=())  # raises the precise error
    rows = read_columns(text.encode(), where, format="jsonl", header=True, wanted=[(name, None) for name in names])
    return Layout("jsonl", names, list(rows.columns), lines=len(rows.numbers))


def _delimited(text: str, file: Path, encoding: str, wishes: Wishes) -> Layout:
    """Split text by the first separator that gives (nearly) all lines the same number of fields, three or more."""
    lines = raw_lines(text)
    if not lines:
        raise HengyuError(f"{file}: is empty; get the file again")
    if len(lines) == 1 and "\r" in lines[0]:
        raise HengyuError(carriage_returns(str(file)))
    first = next((line for line in lines if line.strip()), "")
    best: tuple[float, Layout] | None = None
    by_ending = format_by_ending(file)
    for mark in (wishes.separator,) if wishes.separator else SEPARATORS:
        if len(fields_of(first, mark)) < 3 and not wishes.separator:
            continue
        format_ = "csv" if mark == "," or (by_ending == "csv" and mark != "\t") else "tsv"
        quoted, _ = quoting_of(text, format_, mark, wishes.quoting or "auto")
        try:
            records = (
                [r for _, r in csv_records(text, str(file), mark)] if quoted else [fields_of(s, mark) for s in lines]
            )
        except HengyuError:
            if wishes.separator or wishes.quoting:
                raise
            quoted, records = False, [fields_of(s, mark) for s in lines]
        width, often = Counter(map(len, records)).most_common(1)[0]
        share = often / len(records)
        if (width < 3 or share < 0.5 or (not mark.strip(" ") and share < 1)) and not wishes.separator:
            continue
        if len(records) > 3 and len(records[0]) == width - 1:
            raise HengyuError(nameless(str(file), width))
        kept = [r for r in records if len(r) == width]
        quoting = "auto" if '"' not in text else "csv" if quoted else "none"
        table = Layout(
            *(format_, [], [list(c) for c in zip(*kept, strict=True)], mark, quoting, encoding),
            *(len(records), len(records) - often),
        )
        if share > 0.98:
            return table
        if best is None or share > best[0]:
            best = share, table
    if best is None:
        for mark in (wishes.separator,) if wishes.separator else SEPARATORS:
            if mark.strip(" ") and all(len(fields_of(line, mark)) == 2 for line in lines):
                raise HengyuError(
                    f"{file}: its lines have two columns (line 1 is {first[:60]!r}); pairs need a third one, the label: a "
                    "score, or 0 and 1"
                )
        raise HengyuError(
            f"{file}: no separator gives all lines the same number of fields, at least three (line 1 is {first[:60]!r}); name it "
            "with 'hengyu card FILE --separator MARK', or write the pairs as a table of two sentences and a label"
        )
    return best[1]
