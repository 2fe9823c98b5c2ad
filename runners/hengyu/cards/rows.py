"""Rows: what stands in a file, as it stands there; sentences are neither stripped nor normalised."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from hengyu.base.bounded import Budget, ParquetColumns, bounded_lines, open_regular
from hengyu.base.errors import HengyuError, did_you_mean, first_line
from hengyu.cards.card import Columns

__all__ = ["Rows", "Wanted", "at_lines", "joined", "read_columns", "read_rows"]

_SHOWN = 5
_MANY = 1000  # fields of a header that are looked through for a column
_GZIP = b"\x1f\x8b"

Wanted = str | int | tuple[str | None, ...]
"""A column: its name, its position from 0, or names of which the first one there counts; None for "" without any."""


@dataclass
class Rows:
    """Columns of a file with the number of the line each value stands on; values are unchecked, whatever the file holds."""

    unit: str  # "line" or "row"
    columns: tuple[list[Any], ...]  # in the order they were asked for
    numbers: list[int] = field(default_factory=list)
    malformed: dict[int, tuple[str, str]] = field(default_factory=dict)  # line -> what it must be, and what it is

    def add(self, number: int, values: Sequence[Any]) -> None:
        """Take a row."""
        self.numbers.append(number)
        for column, value in zip(self.columns, values, strict=True):
            column.append(value)


def joined(parts: Sequence[Rows]) -> Rows:
    """Return the rows of several files, one after the other; lines are counted on from file to file."""
    whole = parts[0]
    for part in parts[1:]:
        before = max([*whole.numbers[-1:], *whole.malformed], default=0)
        for column, more in zip(whole.columns, part.columns, strict=True):
            column += more
        whole.numbers += [before + n for n in part.numbers]
        whole.malformed |= {before + n: fault for n, fault in part.malformed.items()}
    return whole


def at_lines(unit: str, numbers: Sequence[int]) -> str:
    """Return ``line 3``, ``lines 3 and 9`` or ``lines 1, 2, 3, 4, 5 and 40 more``."""
    shown = [str(n) for n in numbers[:_SHOWN]]
    rest = [f"{len(numbers) - _SHOWN} more"] if len(numbers) > _SHOWN else shown[-1:] if len(shown) > 1 else []
    head = shown if len(numbers) > _SHOWN or len(shown) == 1 else shown[:-1]
    return f"{unit}{'s' if len(numbers) > 1 else ''} {' and '.join([', '.join(head), *rest])}"


def read_rows(content: bytes, where: str, *, format: str, header: bool, columns: Columns) -> Rows:
    """Read pairs from a file's bytes: sentence, sentence, label; see `read_columns`."""
    wanted = (columns.sentence1, columns.sentence2, columns.label)
    return read_columns(content, where, format=format, header=header, wanted=wanted)


def read_columns(source: bytes | Path, where: str, *, format: str, header: bool, wanted: Sequence[Wanted]) -> Rows:
    """Read columns of a file (gzip too); raises `HengyuError` for what is no table of that format at all.

    Of a path, lines and parquet batches are read as they are needed, so that a large file is not held beside its columns.
    """
    if format == "parquet":
        return _parquet(source, where, wanted)
    if format == "jsonl":
        return _jsonl(_lines(source, where), where, wanted)
    if format == "csv":
        return _table(_csv(_text(source, where), where), where, header, wanted, tabs=False)
    lines = ((n, line.split("\t")) for n, line in enumerate(_lines(source, where), 1))
    return _table(lines, where, header, wanted, tabs=True)


def _open(source: bytes | Path) -> io.BufferedIOBase:
    file: io.BufferedIOBase = io.BytesIO(source) if isinstance(source, bytes) else open_regular(source)
    packed = file.read(2) == _GZIP
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if packed else file


def _size(source: bytes | Path) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def _raw_lines(source: bytes | Path, where: str) -> Iterator[bytes]:
    """Yield lines with their ends; those of a gzip file only as far as its size allows."""
    with _open(source) as file:
        packed = isinstance(file, gzip.GzipFile)
        try:
            yield from bounded_lines(file, where, Budget(where, _size(source)) if packed else None)
        except (gzip.BadGzipFile, EOFError, zlib.error) as e:
            raise HengyuError(f"{where}: the gzip file is damaged or cut short ({e}); get it again") from None


def _decoded(source: bytes | Path, where: str) -> Iterator[str]:
    for number, raw in enumerate(_raw_lines(source, where), 1):
        if number == 1:
            _refuse_foreign(raw, where)
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as e:
            raise HengyuError(
                f"{where}: line {number} is not UTF-8 (byte {e.start + 1} of the line); save the file as UTF-8, "
                "for older Chinese files with iconv -f GB18030 -t UTF-8"
            ) from None


def _refuse_foreign(start: bytes, where: str) -> None:
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise HengyuError(
            f"{where}: is UTF-16, like Excel's 'Unicode text'; save it as 'CSV UTF-8', or use iconv -f UTF-16 -t UTF-8"
        )
    if start[:4] == b"PK\x03\x04":
        raise HengyuError(
            f"{where}: is a zip file, as Excel's workbooks are; save the sheet as 'CSV UTF-8', or unpack it"
        )


def _text(source: bytes | Path, where: str) -> str:
    return "".join(_decoded(source, where))


def _lines(source: bytes | Path, where: str) -> Iterator[str]:
    """Yield lines without their ends, but empty ones at the end of the file."""
    # only \n ends a line: str.splitlines would also cut sentences at U+2028, U+0085 and vertical tabs
    empty = 0
    for line in _decoded(source, where):
        bare = line.removesuffix("\n").removesuffix("\r")
        if not bare:
            empty += 1
            continue
        for _ in range(empty):
            yield ""
        empty = 0
        yield bare


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
    records: Iterable[tuple[int, list[str]]], where: str, header: bool, wanted: Sequence[Wanted], *, tabs: bool
) -> Rows:
    rows = Rows("line", tuple([] for _ in wanted))
    following = iter(records)
    found = next(following, None)
    if found is None:
        return rows
    # without a header the first line shows how many fields there are, unless those asked for are all there can be
    head = found[1] if header else []
    places = [w if isinstance(w, int) else _place(head, w, where, tabs) for w in wanted]
    given = [p for p in places if p is not None]
    width = len(head) if header else len(found[1]) if sorted(given) != list(range(len(wanted))) else len(wanted)
    if max(given) >= width:
        raise HengyuError(
            f"{where}: line 1 has {width} fields and no column {max(given)} (counted from 0); mend the card's 'columns'"
        )
    for number, fields in following if header else chain([found], following):
        if len(fields) == width:
            rows.add(number, ["" if p is None else fields[p] for p in places])
        else:
            between = " between tabs" if tabs else " (one that holds a comma in quotes)" if len(fields) > width else ""
            rows.malformed[number] = (f"a line must have {width} fields{between}", str(len(fields)))
    return rows


def _place(head: list[str], wanted: Wanted, where: str, tabs: bool) -> int | None:
    name = _choice(wanted, head)
    if name is None:
        return None
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
    mend = "say in the card's 'columns' what it is called here"
    raise HengyuError(f"{where}: line 1: the header has no column '{name}'{remedy}{hint}; {mend}")


def _choice(wanted: Wanted, names: Container[str]) -> str | None:
    """Return the name a column goes by here: the first of its names that is there, else the one it should have."""
    if not isinstance(wanted, tuple):
        return str(wanted)
    found = [name for name in wanted if name is not None and name in names]
    return found[0] if found else None if None in wanted else wanted[0]


def _jsonl(lines: Iterable[str], where: str, wanted: Sequence[Wanted]) -> Rows:
    rows = Rows("line", tuple([] for _ in wanted))
    for number, line in enumerate(lines, 1):
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


def _pick(item: Mapping[str, Any], where: str, number: int, wanted: Iterable[Wanted]) -> list[Any]:
    names = [_choice(one, item) for one in wanted]
    for name in names:
        if name is not None and name not in item:
            raise HengyuError(f"{where}: line {number} has no key '{name}'{did_you_mean(name, item)}")
    return ["" if name is None else item[name] for name in names]


def _parquet(source: bytes | Path, where: str, wanted: Sequence[Wanted]) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = Rows("row", tuple([] for _ in wanted))
    with _open(source) as packed:
        if isinstance(packed, gzip.GzipFile):
            source = b"".join(_raw_lines(source, where))
    try:
        table = pa.BufferReader(source) if isinstance(source, bytes) else source
        with pq.ParquetFile(table) as file:
            names = file.schema_arrow.names
            chosen = [_choice(one, names) for one in wanted]
            for name in chosen:
                if name is not None and name not in names:
                    raise HengyuError(f"{where}: the table has no column '{name}'{did_you_mean(name, names)}")
                if names.count(name) > 1:
                    raise HengyuError(f"{where}: the table has two columns '{name}'; rename one of them")
        found = [name for name in chosen if name is not None]
        for count, values in ParquetColumns(table, found, where, _size(source)).batches():
            for column, name in zip(rows.columns, chosen, strict=True):
                column += [""] * count if name is None else values[name]
    except HengyuError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, KeyError, MemoryError) as e:
        reason = first_line(e)
        raise HengyuError(
            f"{where}: damaged or cut short, or no parquet at all ({reason}); get the file again"
        ) from None
    rows.numbers = list(range(1, len(rows.columns[0]) + 1))
    return rows
