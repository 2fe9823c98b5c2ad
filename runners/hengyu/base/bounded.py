"""Files from outside: opened only if they are regular files, and read only up to a bound.

Every reader of a file that a user names goes through here. What cannot be read is an OSError whose ``strerror`` completes the
sentence "FILE: cannot be read (...)", so callers need no special case for pipes, devices or names.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import lzma
import os
import re
import stat
from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hengyu.base.errors import HengyuError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = [
    "DATA",
    "DECLARATION",
    "DOCUMENT",
    "MAGIC_BYTES",
    "NAME_BYTES",
    "Budget",
    "ParquetColumns",
    "allowance",
    "bounded_lines",
    "map_npy",
    "name_fault",
    "open_regular",
    "packing",
    "path_from",
    "read_bytes",
    "refuse_special",
    "resolved",
    "unpacked",
    "user_path",
    "sha256_of",
]

DECLARATION = 4 << 20
"""Bytes of a TOML file."""
DOCUMENT = 1 << 30
"""Bytes of a JSON document."""
DATA = 2 << 30
"""Bytes of a data file that is read whole; a compressed file may always unpack to this much."""
LINE = 64 << 20
"""Bytes of one line of a data file."""
NAME_BYTES = 180
"""UTF-8 bytes of a name used in file names: a file name has at most 255, and a digest and an extension are added."""

_RATIO = 32  # text compresses to a tenth at best, a bomb to a thousandth
_VALUE = 16  # bytes that a value costs on top of its content
_XZ_MEMORY = 1 << 30  # a header may ask for 4 GiB
_CHUNK = 1 << 16
_NAME, _PATH = 255, 4096  # bytes that file systems allow

_KINDS = (
    (stat.S_ISFIFO, "it is a named pipe, not a regular file"),
    (stat.S_ISCHR, "it is a device, not a regular file"),
    (stat.S_ISBLK, "it is a device, not a regular file"),
    (stat.S_ISSOCK, "it is a socket, not a regular file"),
)


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading; raises OSError for anything else, without blocking.

    The type is checked on the open file, so the file cannot be swapped after the check.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError:  # NUL, or half a surrogate pair
        raise OSError(errno.EINVAL, "its name contains a character that no file name can contain", str(path)) from None
    except OSError as e:
        # a socket, or a device without a driver
        raise (OSError(e.errno, _KINDS[3][1], str(path)) if e.errno == errno.ENXIO else e) from None
    try:
        _require_regular(os.fstat(handle).st_mode, path)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def sha256_of(path: Path) -> str:
    """Return the sha256 of a regular file's bytes, in hexadecimal digits; raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_special(path: Path) -> None:
    """Raise OSError if a path that a library is about to open is a pipe, device, socket or folder."""
    try:
        mode = path.stat().st_mode
    except ValueError:
        raise OSError(errno.EINVAL, "its name contains a character that no file name can contain", str(path)) from None
    _require_regular(mode, path)


def _require_regular(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    for is_kind, words in _KINDS:
        if is_kind(mode):
            raise OSError(errno.EINVAL, words, str(path))


def read_bytes(path: Path, largest: int = DOCUMENT) -> bytes:
    """Return the content of a regular file of at most ``largest`` bytes; raises OSError."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > largest:
            raise _too_large(path, largest)
        content = file.read(largest + 1)
    if len(content) > largest:  # it has grown, or does not report its size
        raise _too_large(path, largest)
    return content


def _too_large(path: Path, largest: int) -> OSError:
    return OSError(errno.EFBIG, f"it is larger than {size_words(largest)}", str(path))


def size_words(size: int) -> str:
    """Return a number of bytes in words."""
    return f"{size / (1 << 30):.3g} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.3g} MiB"


# --- names ---


def path_from(folder: Path, word: str | Path) -> Path:
    """Return the path that a file of the user's names: it counts from that file's folder; raises as `user_path` does."""
    return folder / user_path(word)


def user_path(word: str | Path) -> Path:
    """Return the path a user wrote, with ``~`` expanded; raises `HengyuError` for an impossible path."""
    text = os.fspath(word)
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise HengyuError(f"'{text}': there is no such user; write the path in full") from None
    try:
        raw = os.fsencode(path)
    except UnicodeEncodeError:
        raise HengyuError(f"{text!a}: contains half a surrogate pair, which a path cannot; correct it") from None
    if b"\0" in raw:
        raise HengyuError(f"{text!a}: contains a NUL character, which a path cannot; correct it")
    longest = max(map(len, raw.split(os.sep.encode())))
    if longest > _NAME or len(raw) >= _PATH:
        shown = text if len(text) <= 60 else f"{text[:60]}…"
        what = f"a name of {longest} bytes" if longest > _NAME else f"a path of {len(raw)} bytes"
        raise HengyuError(
            f"'{shown}': {what} is longer than file systems allow ({_NAME} a name, {_PATH} a path); check it"
        )
    return path


def resolved(path: Path) -> Path:
    """Return the absolute path with links resolved; a loop of links is left for whoever opens it."""
    return Path(os.path.realpath(path))


def name_fault(name: str) -> str:
    """Return why a name cannot be used in file names, to follow the key in a sentence; "" if it can."""
    size = len(name.encode("utf-8", "surrogatepass"))
    if size <= NAME_BYTES:
        return ""
    return (
        f"is {size} bytes long ({len(name)} characters), but it is used in file names; use at most {NAME_BYTES} bytes "
        f"({NAME_BYTES // 3} Chinese characters)"
    )


# --- compressed files, lines ---


class Budget:
    """Counts the bytes that a file unpacks to, and stops beyond the limit for its size."""

    def __init__(self, where: str, size: int) -> None:
        self.where = where
        self.left = self.largest = allowance(size)

    def spend(self, size: int) -> None:
        """Add to the count; raises `HengyuError` beyond the limit."""
        self.left -= size
        if self.left < 0:
            raise HengyuError(
                f"{self.where}: unpacks to more than {size_words(self.largest)}, far too much for a compressed file of "
                "its size; if it is genuine, decompress it and name the plain file"
            )


def allowance(size: int) -> int:
    """Return the number of bytes that a compressed file of ``size`` bytes may unpack to."""
    return max(DATA, _RATIO * size)


class _Xz(io.RawIOBase):
    """Decompresses xz within a memory limit; a file may hold several streams, with padding."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._decoder = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = len(buffer)
        while True:
            if self._decoder.eof:
                rest = self._decoder.unused_data.lstrip(b"\0")
                while not rest:
                    block = self._file.read(_CHUNK)
                    if not block:
                        return 0
                    rest = block.lstrip(b"\0")
                self._decoder = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
            else:
                rest = self._file.read(_CHUNK) if self._decoder.needs_input else b""
                if self._decoder.needs_input and not rest:
                    raise EOFError("it ends before its end-of-stream marker")
            out = self._decoder.decompress(rest, wanted)
            if out:
                buffer[: len(out)] = out
                return len(out)


MAGIC_BYTES = 6  # read by `packing`


def packing(head: bytes) -> str:
    """Return ``gzip``, ``xz`` or ``bzip2`` from a file's first `MAGIC_BYTES`; "" for an uncompressed file."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith(b"\xfd7zXZ\x00"):
        return "xz"
    # the fourth byte is the block size, a digit: plain text may begin with BZh, too
    return "bzip2" if head.startswith(b"BZh") and head[3:4].isdigit() else ""


def unpacked(file: io.BufferedIOBase) -> tuple[io.BufferedIOBase, bool]:
    """Return a file's content, decompressed if it is gzip or xz, and whether it was."""
    packed = packing(file.read(MAGIC_BYTES))
    file.seek(0)
    if packed == "gzip":
        return gzip.GzipFile(fileobj=file), True
    if packed == "xz":
        return io.BufferedReader(_Xz(file), _CHUNK), True
    return file, False


def bounded_lines(
    file: io.BufferedIOBase, where: str, budget: Budget | None = None, longest: int = LINE
) -> Iterator[bytes]:
    """Yield lines with their line ends; raises `HengyuError` for a line that is too long, or beyond the budget."""
    number = 0
    while line := file.readline(longest + 1):
        number += 1
        if budget is not None:
            budget.spend(len(line))
        if len(line) > longest:
            raise HengyuError(
                f"{where}: line {number} is longer than {size_words(longest)}; check the line ends, and that this is the right "
                "file"
            )
        yield line


# --- parquet ---


class ParquetColumns:
    """Reads columns of a parquet file in batches, within a budget.

    The sizes in the metadata can be wrong, and a text that is repeated a million times is stored once. So everything is
    first counted in its encoded form, in a separate pass, before any value is made. The metadata of column chunks are not
    read: pyarrow crashes the process if they are damaged.
    """

    _ROWS = 4096  # rows in a batch of values
    _COUNTED = 256  # rows in a batch that is only counted: a delta-encoded text is expanded at every repetition
    _WHOLE = 16  # the same where texts cannot be counted in encoded form

    def __init__(self, source: Any, names: Iterable[str], where: str, size: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.names = list(names)
        self._source, self._where, self._size = source, where, size
        self._texts: list[str] = []  # paths of the text columns
        with pq.ParquetFile(source) as file:
            self._about = file.metadata
            leaves = [self._about.schema.column(place).path for place in range(self._about.num_columns)]
            for name in self.names:
                kind = file.schema_arrow.field(name).type
                if pa.types.is_list(kind) or pa.types.is_large_list(kind):
                    kind = kind.value_type
                if pa.types.is_nested(kind):
                    raise HengyuError(
                        f"{where}: column '{name}' holds {kind}, not text or numbers; name another column, or "
                        "write the table with one value per row"
                    )
                if _is_text(kind.value_type if pa.types.is_dictionary(kind) else kind):
                    self._texts += [path for path in leaves if path.partition(".")[0] == name]
        Budget(where, size).spend(_VALUE * max(self._about.num_rows, 0) * len(self.names))

    def batches(self) -> Iterator[tuple[int, dict[str, list[Any]]]]:
        """Yield the number of rows and the values of each column, batch by batch; raises `HengyuError` beyond the budget."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._count(self._texts, self._COUNTED)
        except (pa.ArrowException, OSError):  # an encoding without a dictionary, or a damaged file
            self._count([], self._WHOLE)
        with pq.ParquetFile(self._source, metadata=self._about) as file:
            for batch in file.iter_batches(self._ROWS, columns=self.names):
                yield batch.num_rows, {name: batch.column(name).to_pylist() for name in self.names}

    def _count(self, encoded: list[str], rows: int) -> None:
        """Count the bytes of the columns; those in ``encoded`` as dictionaries, so a repeated text counts once."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        budget = Budget(self._where, self._size)
        with pq.ParquetFile(self._source, metadata=self._about, read_dictionary=encoded) as file:
            for batch in file.iter_batches(rows, columns=self.names):
                for name in self.names:
                    column = batch.column(name)
                    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
                        column = column.flatten()
                    budget.spend(_VALUE * max(len(column), batch.num_rows))
                    if pa.types.is_dictionary(column.type) and _is_text(column.type.value_type):
                        sizes = pc.binary_length(column.dictionary).take(column.indices)
                        budget.spend(pc.sum(sizes).as_py() or 0)
                    else:
                        budget.spend(column.nbytes)


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string))


# --- .npy ---

_ITEM = re.compile(
    r"""\s*['"](?P<key>\w{1,20})['"]\s*:\s*(?:['"](?P<text>[\w<>|=]{1,12})['"]|(?P<word>True|False)|\((?P<sizes>[0-9L,\s]{0,400})\))\s*""",
    re.ASCII,
)
_HEADER = 10_000  # bytes, as numpy allows
_WHITE = " \t\r\n\f\v"


def map_npy(path: Path) -> NDArray[Any]:
    """Map the array of a .npy file into memory; raises OSError, or ValueError if it does not hold a whole array.

    The header is parsed by pattern, never evaluated, and its shape is checked against the file size. Format: numpy's NEP 1.
    """
    import numpy as np

    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        start, text = _npy_header(file)
        kind, columns_first, shape = _npy_about(text)
        claimed = kind.itemsize * prod(shape)
        if start + claimed > size:
            raise ValueError(
                f"its header says {kind} {shape}, which takes {claimed:,} bytes, but the file has {size - start:,}"
                if claimed < 1 << 100
                else "its header gives an impossible shape"
            )
        if not claimed:
            return np.empty(shape, kind)
        return np.memmap(file, kind, "r", start, shape, "F" if columns_first else "C")


def _npy_header(file: io.BufferedReader) -> tuple[int, str]:
    head = file.read(8)
    if head[:6] != b"\x93NUMPY":
        zipped = ", but as a zip archive, which numpy.savez writes" if head[:4] == b"PK\x03\x04" else ""
        raise ValueError(f"it does not begin like a .npy file{zipped}" if head else "it is empty")
    wide = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}.get(head[6:])
    if wide is None:
        raise ValueError("its format version is unknown")
    length = int.from_bytes(file.read(wide), "little")
    if length > _HEADER:
        raise ValueError(f"its header claims to be {length:,} bytes long")
    text = file.read(length)
    if len(text) < length:
        raise ValueError("it is cut short within its header")
    return 8 + wide + length, text.decode("utf-8" if head[6] == 3 else "latin-1")


def _npy_about(text: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    import numpy as np

    wrong = ValueError("its header does not describe an array of numbers")
    inside = text.strip(_WHITE)
    if not (inside.startswith("{") and inside.endswith("}")):
        raise wrong
    inside = inside[1:-1]
    found: dict[str, re.Match[str]] = {}
    at = 0
    while inside[at:].strip(_WHITE):
        item = _ITEM.match(inside, at)
        if item is None or item["key"] in found or len(found) == 3:
            raise wrong
        found[item["key"]] = item
        at = item.end()
        if at < len(inside):
            if inside[at] != ",":
                raise wrong
            at += 1
    if set(found) != {"descr", "fortran_order", "shape"}:
        raise wrong
    text, word, sizes = found["descr"]["text"], found["fortran_order"]["word"], found["shape"]["sizes"]
    if text is None or word is None or sizes is None:
        raise wrong
    try:
        kind = np.dtype(text)
        parts = [part.strip(_WHITE) for part in sizes.split(",")]
        if parts[-1] == "":
            parts.pop()
        shape = tuple(int(part.removesuffix("L")) for part in parts)
    except (TypeError, ValueError):
        raise wrong from None
    if kind.hasobject:
        raise ValueError("it holds pickled Python objects, which are not loaded")
    if kind.itemsize == 0 or len(shape) > 32:
        raise wrong
    return kind, word == "True", shape
