"""Rows: what stands in a file, as it stands there; sentences are neither stripped nor normalised."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hengyu.card import Columns
from hengyu.errors import HengyuError, did_you_mean, first_line

__all__ = ["Rows", "at_lines", "read_rows"]

_SHOWN = 5
_MANY = 1000  # fields of a header that are looked through for a column
_LARGEST = 2 << 30  # bytes; a few KiB of gzip can unpack to any size


@dataclass
class Rows:
    """Sentence pairs with the number of the line each stands on; values are unchecked, whatever the file holds."""

    unit: str  # "line" or "row"
    numbers: list[int] = field(default_factory=list)
    first: list[Any] = field(default_factory=list)
    second: list[Any] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    malformed: dict[int, tuple[str, str]] = field(default_factory=dict)  # line -> what it must be, and what it is

    def add(self, number: int, values: Sequence[Any]) -> None:
        """Take a row: sentence, sentence, label."""
        self.numbers.append(number)
        self.first.append(values[0])
        self.second.append(values[1])
        self.labels.append(values[2])


def at_lines(unit: str, numbers: Sequence[int]) -> str:
    """Return ``line 3``, ``lines 3 and 9`` or ``lines 1, 2, 3, 4, 5 and 40 more``."""
    shown = [str(n) for n in numbers[:_SHOWN]]
    rest = [f"{len(numbers) - _SHOWN} more"] if len(numbers) > _SHOWN else shown[-1:] if len(shown) > 1 else []
    head = shown if len(numbers) > _SHOWN or len(shown) == 1 else shown[:-1]
    return f"{unit}{'s' if len(numbers) > 1 else ''} {' and '.join([', '.join(head), *rest])}"


def read_rows(content: bytes, where: str, *, format: str, header: bool, columns: Columns) -> Rows:
    """Read a file's bytes (gzip too); raises `HengyuError` for what is no table of that format at all."""
    if content[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
                content = file.read(_LARGEST + 1)
        except (OSError, EOFError, zlib.error) as e:
            raise HengyuError(f"{where}: the gzip file is damaged or cut short ({e}); get it again") from None
        if len(content) > _LARGEST:
            raise HengyuError(
                f"{where}: unpacks to more than {_LARGEST >> 30} GiB; unpack it yourself if that is right, then name the file"
            )
    wanted = [columns.sentence1, columns.sentence2, columns.label]
    if format == "parquet":
        return _parquet(content, where, wanted)
    text = _decode(content, where)
    if format == "jsonl":
        return _jsonl(text, where, wanted)
    records = _csv(text, where) if format == "csv" else _tsv(text)
    return _table(records, where, header, wanted, tabs=format == "tsv")


def _decode(content: bytes, where: str) -> str:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise HengyuError(
            f"{where}: is UTF-16, like Excel's 'Unicode text'; save it as 'CSV UTF-8', or use iconv -f UTF-16 -t UTF-8"
        )
    if content[:4] == b"PK\x03\x04":
        raise HengyuError(
            f"{where}: is a zip file, as Excel's workbooks are; save the sheet as 'CSV UTF-8', or unpack it"
        )
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as e:
        line = content.count(b"\n", 0, e.start) + 1
        byte = e.start - content.rfind(b"\n", 0, e.start)
        raise HengyuError(
            f"{where}: line {line} is not UTF-8 (byte {byte} of the line); save the file as UTF-8, "
            "for older Chinese files with iconv -f GB18030 -t UTF-8"
        ) from None


def _lines(text: str) -> list[str]:
    # only \n ends a line: str.splitlines would also cut sentences at U+2028, U+0085 and vertical tabs
    lines = text.split("\n")
    while lines and lines[-1] in ("", "\r"):
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _tsv(text: str) -> list[tuple[int, list[str]]]:
    return [(n, line.split("\t")) for n, line in enumerate(_lines(text), 1)]


def _csv(text: str, where: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records: list[tuple[int, list[str]]] = []
    start = 1
    try:
        for record in reader:
            records.append((start, record))
            start = reader.line_num + 1
    except csv.Error as e:
        raise HengyuError(f"{where}: line {start}: broken quoting ({e}); mend the quotes from that line on") from None
    while records and not records[-1][1]:
        records.pop()
    return records


def _table(
    records: list[tuple[int, list[str]]], where: str, header: bool, wanted: Sequence[str | int], *, tabs: bool
) -> Rows:
    rows = Rows("line")
    if not records:
        return rows
    # without a header the first line shows how many fields there are, unless three say it all
    head = records.pop(0)[1] if header else []
    places = [w if isinstance(w, int) else _place(head, w, where, tabs) for w in wanted]
    first = head if header else records[0][1] if sorted(places) != [0, 1, 2] else places
    width = len(first)
    if max(places) >= width:
        raise HengyuError(
            f"{where}: line 1 has {width} fields and no column {max(places)} (counted from 0); mend the card's 'columns'"
        )
    for number, fields in records:
        if len(fields) == width:
            rows.add(number, [fields[p] for p in places])
        else:
            between = " between tabs" if tabs else ""
            rows.malformed[number] = (f"a line must have {width} fields{between}", str(len(fields)))
    return rows


def _place(head: list[str], name: str, where: str, tabs: bool) -> int:
    if head.count(name) == 1:
        return head.index(name)
    if name in head:
        raise HengyuError(f"{where}: line 1: the header names '{name}' twice; rename one of the columns")
    if len(head) == 1:
        for mark, called in ((";", "semicolons"), ("\t", "tabs"), (",", "commas"), ("|", "bars")):
            if name in (part.strip(' "') for part in head[0].split(mark)[:_MANY]):
                other = {"\t": 'format = "tsv"', ",": 'format = "csv"'}.get(mark)
                mend = f"add {other} to the card" if other else "save it with commas or tabs"
                wanted = "tabs" if tabs else "commas"
                raise HengyuError(f"{where}: line 1: its fields are parted by {called} and not by {wanted}; {mend}")
    remedy = "" if len(head) > 1 or not tabs else ", and no tab either: is this really a tab-separated file?"
    hint = did_you_mean(name, head) if len(head) > 1 else ""
    raise HengyuError(f"{where}: line 1: the header has no column '{name}'{remedy}{hint or ' (mend the card)'}")


def _jsonl(text: str, where: str, wanted: Sequence[str | int]) -> Rows:
    rows = Rows("line")
    for number, line in enumerate(_lines(text), 1):
        if not line.strip():
            rows.malformed[number] = ("a line must be a JSON object", "empty")
            continue
        try:
            item = json.loads(line)
        except RecursionError:
            raise HengyuError(f"{where}: line {number} is nested too deep; write one flat object a line") from None
        except ValueError as e:
            raise HengyuError(f"{where}: line {number} is not JSON ({e}); write one object a line") from None
        if not isinstance(item, dict):
            raise HengyuError(f"{where}: line {number} is no JSON object; write one object a line, like {{...}}")
        rows.add(number, _pick(item, where, number, wanted))
    return rows


def _pick(item: Mapping[str, Any], where: str, number: int, wanted: Iterable[str | int]) -> list[Any]:
    for name in wanted:
        if name not in item:
            raise HengyuError(f"{where}: line {number} has no key '{name}'{did_you_mean(str(name), item)}")
    return [item[str(name)] for name in wanted]


def _parquet(content: bytes, where: str, wanted: Sequence[str | int]) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        names = file.schema_arrow.names
        for name in wanted:
            if name not in names:
                raise HengyuError(f"{where}: the table has no column '{name}'{did_you_mean(str(name), names)}")
            if names.count(name) > 1:
                raise HengyuError(f"{where}: the table has two columns '{name}'; rename one of them")
        table = file.read(columns=[str(w) for w in wanted])
        values = [table.column(str(w)).to_pylist() for w in wanted]
    except HengyuError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, KeyError, MemoryError) as e:
        reason = first_line(e)
        raise HengyuError(
            f"{where}: damaged or cut short, or no parquet at all ({reason}); get the file again"
        ) from None
    return Rows("row", list(range(1, len(values[0]) + 1)), *values)
