"""Rows: reads the columns of a file unchanged; sentences are neither stripped nor normalised."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from bz2 import BZ2File
from collections.abc import Iterator, Sequence
from pathlib import Path

from hengyu.base.bounded import MAGIC_BYTES, Budget, ParquetColumns, bounded_lines, open_regular, packing
from hengyu.base.bounded import unpacked as unpacked_stream
from hengyu.base.errors import HengyuError, did_you_mean
from hengyu.base.errors import first_line as brief
from hengyu.cards.card import Columns
from hengyu.cards.columns import Rows, Wanted, at_lines, choice, joined
from hengyu.cards.content import HEAD, decode, not_utf8, refuse_foreign
from hengyu.cards.delimited import broken_by_quotes, csv_records, decide_quoting, fields_of, raw_lines, table
from hengyu.cards.objects import read_objects, spread

__all__ = [
    "Rows",
    "Wanted",
    "at_lines",
    "first_line",
    "joined",
    "parquet_names",
    "quoting_of",
    "read_columns",
    "read_rows",
    "text_of",
    "unpacked",
]

_SEPARATORS = {"csv": ",", "tsv": "\t"}


def read_rows(
    content: bytes,
    where: str,
    *,
    format: str,
    header: bool,
    columns: Columns,
    separator: str = "",
    quoting: str = "",
    encoding: str = "",
) -> Rows:
    """Read pairs from a file or its bytes: sentence, sentence, label; see `read_columns`."""
    wanted = (columns.sentence1, columns.sentence2, columns.label)
    return read_columns(
        content,
        where,
        format=format,
        header=header,
        wanted=wanted,
        separator=separator,
        quoting=quoting,
        encoding=encoding,
    )


def read_columns(
    source: bytes | Path,
    where: str,
    *,
    format: str,
    header: bool,
    wanted: Sequence[Wanted],
    separator: str = "",
    quoting: str = "",
    encoding: str = "",
) -> Rows:
    """Read columns of a file (gzip, xz and bzip2 too); raises `HengyuError` if it is not a table of that format.

    From a path, lines and parquet batches are read on demand, so a large file is never in memory together with its columns.

    Args:
        source: the file, or its bytes.
        where: its name in messages.
        format: ``tsv``, ``csv``, ``json``, ``jsonl`` or ``parquet``.
        header: whether the first line of a text file has names.
        wanted: the columns.
        separator: between fields; "" for the tab of ``tsv`` and the comma of ``csv``.
        quoting: ``csv``, ``none``, ``auto`` (see `decide_quoting`), or "" for the default of the format.
        encoding: one of `hengyu.cards.content.CODECS`; "" for UTF-8.
    """
    if format == "parquet":
        return _parquet(source, where, wanted)
    if format in ("json", "jsonl"):
        return read_objects(_lines(source, where, encoding), where, wanted)
    mark = separator or _SEPARATORS[format]
    if quoting in ("", "none") and (format != "csv" or quoting or len(mark) > 1):
        lines = ((n, fields_of(line, mark)) for n, line in enumerate(_lines(source, where, encoding), 1))
        return table(lines, where, header, wanted, mark)
    text = text_of(source, where, encoding)
    quoted, note = quoting_of(text, format, mark, quoting)
    records = (
        csv_records(text, where, mark)
        if quoted
        else ((n, fields_of(line, mark)) for n, line in enumerate(raw_lines(text), 1))
    )
    rows = table(records, where, header, wanted, mark)
    rows.notes += [note] if note else []
    return rows


def quoting_of(text: str, format: str, separator: str, quoting: str) -> tuple[bool, str]:
    """Return whether quotes around fields are CSV quoting, and a note if that had to be decided, else ""."""
    if len(separator) > 1 or separator == " ":
        return False, ""
    if quoting != "auto":
        return quoting != "none", ""
    if format != "csv":
        return decide_quoting(text, separator)
    if broken_by_quotes(text, separator):
        return False, (
            'quotes were kept as text: read as CSV, they would join complete lines; add quoting = "csv" to '
            "the card if they are CSV quoting"
        )
    return True, ""


def _open(source: bytes | Path) -> io.BufferedIOBase:
    return io.BytesIO(source) if isinstance(source, bytes) else open_regular(source)


def _compression(file: io.BufferedIOBase) -> str:
    """Return ``gzip``, ``xz`` or ``bzip2`` from a file's first bytes; "" for an uncompressed file."""
    file.seek(0)
    return packing(file.read(MAGIC_BYTES))


def _content(file: io.BufferedIOBase) -> io.BufferedIOBase:
    """Return a stream of a file's content from its beginning, decompressed; the file stays open."""
    packed = _compression(file)
    file.seek(0)
    return BZ2File(file) if packed == "bzip2" else unpacked_stream(file)[0]


def _size(source: bytes | Path) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def _raw_lines(source: bytes | Path, where: str, format: str = "") -> Iterator[bytes]:
    """Yield lines with their line ends, decompressed within the limit for the file's size.

    Raises `HengyuError` for a file that is damaged, too large, or not a table.
    """
    packed = ""
    try:
        with _open(source) as file:
            packed = _compression(file)
            refuse_foreign(_content(file).read(HEAD), where, format)
            yield from bounded_lines(_content(file), where, Budget(where, _size(source)) if packed else None)
    except (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError) as e:
        raise HengyuError(f"{where}: the {packed} file is damaged or cut short ({e}); get it again") from None
    except OSError as e:
        if packed != "bzip2":
            raise
        raise HengyuError(f"{where}: the {packed} file is damaged or cut short ({e}); get it again") from None


def unpacked(source: bytes | Path, where: str, format: str = "") -> bytes:
    """Return the bytes of a file, decompressed; raises `HengyuError` if it is not a table."""
    return b"".join(_raw_lines(source, where, format))


def _decoded(source: bytes | Path, where: str, encoding: str = "") -> Iterator[str]:
    """Yield decoded lines with their line ends; raises `HengyuError` that names a line that cannot be decoded."""
    if encoding not in ("", "utf-8"):
        text = decode(unpacked(source, where, encoding), where, encoding)
        yield from (f"{line}\n" for line in text.split("\n"))
        return
    for number, raw in enumerate(_raw_lines(source, where), 1):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as e:
            with _open(source) as file:
                sample = _content(file).read(1 << 18)
            raise not_utf8(where, number, e.start + 1, sample) from None


def text_of(source: bytes | Path, where: str, encoding: str = "") -> str:
    """Return the whole text of a file, decompressed and decoded; raises `HengyuError`."""
    return "".join(_decoded(source, where, encoding))


def _lines(source: bytes | Path, where: str, encoding: str = "") -> Iterator[str]:
    """Yield lines without line ends, except empty lines at the end of the file."""
    # only \n ends a line: str.splitlines would also cut sentences at U+2028, U+0085 and vertical tabs
    empty = 0
    for line in _decoded(source, where, encoding):
        bare = line.removesuffix("\n").removesuffix("\r")
        if not bare:
            empty += 1
            continue
        for _ in range(empty):
            yield ""
        empty = 0
        yield bare


def first_line(source: bytes | Path, where: str) -> str:
    """Return the first line of a text file that is not empty, without its line end; "" for a file without one."""
    return next((line for line in _lines(source, where) if line.strip()), "")


def parquet_names(content: bytes, where: str) -> list[str]:
    """Return the names of a parquet file's columns, each once; raises `HengyuError`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(dict.fromkeys(pq.read_schema(pa.BufferReader(unpacked(content, where, "parquet"))).names))
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as e:
        raise HengyuError(
            f"{where}: damaged or cut short, or not a parquet file ({brief(e)}); get the file again"
        ) from None


def _parquet(source: bytes | Path, where: str, wanted: Sequence[Wanted]) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = Rows("row", tuple([] for _ in wanted))
    with _open(source) as file:
        packed = _compression(file)
        file.seek(0)
        if not packed:
            refuse_foreign(file.read(HEAD), where, "parquet")
    if packed:
        source = unpacked(source, where, "parquet")
    try:
        table = pa.BufferReader(source) if isinstance(source, bytes) else source
        with pq.ParquetFile(table) as parquet:
            names = parquet.schema_arrow.names
            chosen = [choice(one, names) for one in wanted]
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
        reason = brief(e)
        raise HengyuError(
            f"{where}: damaged or cut short, or not a parquet file ({reason}); get the file again"
        ) from None
    rows.numbers = list(range(1, len(rows.columns[0]) + 1))
    return spread(rows, where)
