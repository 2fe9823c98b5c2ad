"""Keys shared by all kinds of cards: names, words, digests, columns, files, hub and prose."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from hengyu.base.bounded import name_fault
from hengyu.base.errors import did_you_mean
from hengyu.base.toml_tables import Table, shown
from hengyu.cards.card import FORMATS, CollectionColumns, Columns, Hub, Raters, TripleColumns, format_of
from hengyu.cards.content import CODECS
from hengyu.cards.delimited import QUOTINGS
from hengyu.cards.web import url_fault

__all__ = [
    "KINDS",
    "LONG",
    "Text",
    "columns",
    "digest",
    "distractors",
    "file_key",
    "files_key",
    "hub",
    "label_map",
    "long_texts",
    "name",
    "prose",
    "raters",
    "split_name",
    "text_keys",
    "url_key",
    "word",
]

LONG = ("truncate", "head-tail", "windows")
"""What an encoder can do with texts above its maximum length."""
KINDS = tuple(dict.fromkeys(FORMATS.values()))
"""The known formats."""

# words with a meaning of their own in fit_on and in the leaderboard's aggregates
_RESERVED = ("all", "avg", "none", "target", "w-avg")
_ARCHIVES = {
    ".zip": "zip",
    ".zst": "zstd",
    ".7z": "7z",
    ".rar": "RAR",
    ".tar": "tar",
    ".tgz": "tar",
    ".lz4": "lz4",
}
C = TypeVar("C", Columns, CollectionColumns, TripleColumns)


def name(table: Table, key: str, given: str) -> None:
    """Record a problem if a name cannot be a folder's."""
    if given.startswith(".") or not re.fullmatch(r"[\w.-]+", given):
        table.problem(key, f"must be letters, digits, '-', '_' and '.', not {shown(given)}")
    elif fault := name_fault(given):
        table.problem(key, fault)


def split_name(table: Table, given: str) -> None:
    """Record a problem if a split's name cannot be a folder's, or is reserved."""
    name(table, "name", given)
    if given in _RESERVED:
        table.problem("name", f"'{given}' is reserved (reserved names: {', '.join(_RESERVED)}); rename the split")


def word(table: Table, key: str, default: str, known: Iterable[str]) -> str:
    """Take a key that must be one of the known words."""
    words = tuple(known)
    found = table.take(key, str, default)
    if found not in words:
        table.problem(key, f"has the unknown value '{found}'{did_you_mean(found, [w for w in words if w])}")
    return found


def columns(table: Table, default: C, apart: Sequence[tuple[str, tuple[str, ...]]]) -> C:
    """Take the key 'columns'; ``apart`` lists which columns must differ, with the message."""
    inner = table.table("columns")
    found: dict[str, str | int] = {}
    for key, value in asdict(default).items():
        present = inner.has(key)
        given = inner.raw(key)
        if not present:
            given = value
        if type(given) not in (str, int) or given == "" or (isinstance(given, int) and given < 0):
            inner.problem(key, f"must be a column's name, or its position from 0, not {shown(given)}")
        else:
            found[key] = given
    for sentence, group in apart:
        here = [found[key] for key in group if key in found]
        if len(set(here)) < len(here):
            inner.problem(group[-1], sentence)
    inner.finish()
    return replace(default, **found)


def hub(table: Table, columns_of: Callable[[Table], Columns | None]) -> Hub | None:
    """Take the key 'hub'; ``columns_of`` takes the columns of its files."""
    if not table.has("hub"):
        table.take("hub", dict)
        return None
    inner = table.table("hub")
    found = Hub(
        id=inner.take("id", str, "", required=True),
        revision=inner.take("revision", str, "", required=True),
        columns=columns_of(inner) or Columns(label="score"),
        subset=inner.take("subset", str, ""),
        sha256={str(k): str(v) for k, v in inner.take("sha256", dict, {}).items()},
    )
    if found.id and not re.fullmatch(r"[\w.-]+/[\w.-]+", found.id, re.ASCII):
        inner.problem("id", f"must be owner/name, like C-MTEB/LCQMC, not {shown(found.id)}")
    if found.revision and not re.fullmatch(r"[0-9a-f]{40}", found.revision):
        inner.problem(
            "revision",
            f"must be a commit, 40 hex digits, so that the data stay as they are, not {shown(found.revision)}",
        )
    for file, given in found.sha256.items():
        digest(inner, f"sha256.{file}", given)
    inner.finish()
    return found


@dataclass(frozen=True)
class Text:
    """The layout of a text file."""

    format: str
    separator: str
    quoting: str
    encoding: str


def text_keys(table: Table) -> Text:
    """Take the keys for the layout of text files: format, separator, quoting, encoding."""
    format_ = word(table, "format", "", ("", *KINDS))
    separator = table.take("separator", str, "") if table.has("separator") else ""
    if separator in ("\\t", "tab", "\\x01"):
        table.problem(
            "separator", 'is written with a backslash; use double quotes, like separator = "\\t" (or "\\u0001")'
        )
    elif any(c in separator for c in '"\r\n'):
        table.problem("separator", f"must contain neither quotes nor line ends, not {shown(separator)}")
    quoting = word(table, "quoting", "auto", QUOTINGS)
    if quoting == "csv" and (len(separator) > 1 or separator == " "):
        table.problem("quoting", f"is 'csv', which needs a one-character separator, not {shown(separator)}")
    given = table.take("encoding", str, "utf-8")
    encoding = {"utf8": "utf-8", "utf-8-sig": "utf-8", "cp936": "gbk"}.get(
        given.lower(), given.lower().replace("_", "-")
    )
    if encoding not in CODECS:
        table.problem("encoding", f"has the unknown value {shown(given)}{did_you_mean(encoding, CODECS)}")
        encoding = "utf-8"
    if format_ in ("json", "jsonl", "parquet") and (separator or quoting != "auto"):
        table.problem(
            "separator" if separator else "quoting", f"applies to text with fields, but the format is {format_}"
        )
    return Text(format_, separator, quoting, encoding)


def label_map(table: Table, scale: tuple[float, float], binary: bool) -> dict[str, float]:
    """Take the key 'map' of labels: from words in the file to labels."""
    found: dict[str, float] = {}
    for label, value in table.take("map", dict, {}).items():
        if type(value) not in (int, float) or not scale[0] <= value <= scale[1] or (binary and value not in (0, 1)):
            allowed = "0 or 1" if binary else f"a number in {scale[0]:g}..{scale[1]:g}"
            table.problem(f"map.{label}", f"must be {allowed}, not {shown(value)}")
        else:
            found[label.strip()] = float(value)
    return found


def file_key(table: Table, key: str, default: str, format_: str, *, required: bool, named: bool) -> str:
    """Take a key that names a file below the card's folder, of a known format; ``named``: columns are given by name."""
    file = table.take(key, str, default, required=required)
    _check_file(table, key, file, format_, named=named)
    return file


def files_key(
    table: Table, key: str, default: str, format_: str, *, required: bool, named: bool
) -> str | tuple[str, ...]:
    """Take a key that names files: one, a pattern like ``corpus/*.parquet``, a folder, or a list of these."""
    if not isinstance(table.peek(key), list):
        files: tuple[str, ...] = (table.take(key, str, default, required=required),)
    else:
        files = table.strings(key)
        if not files:
            table.problem(key, "is an empty list; name at least one file")
    for file in files:
        if PurePosixPath(file.lower()).suffix or not file:
            _check_file(table, key, file, format_, named=named)
        elif _escapes(file):
            table.problem(key, f"must be a path below the card's folder, not {shown(file)}")
    return files[0] if len(files) == 1 else files


def _check_file(table: Table, key: str, file: str, format_: str, *, named: bool) -> None:
    """Note what is wrong with the name of a file."""
    if file and _escapes(file):
        table.problem(key, f"must be a path below the card's folder, not {shown(file)}")
    kind = format_of(file, format_)
    ending = PurePosixPath(file.lower()).suffix
    if ending in (".xlsx", ".xls") and not kind:
        table.problem(key, f"is an Excel workbook, {shown(file)}; save its sheet as 'CSV UTF-8' and name that file")
    elif ending in _ARCHIVES and not kind:
        table.problem(
            key,
            f"is a {_ARCHIVES[ending]} file, {shown(file)}, which is not supported; unpack it and name the file inside",
        )
    elif file and not kind:
        table.problem(key, f"has an extension of no known format; add format = one of {', '.join(KINDS)}")
    if kind in ("json", "jsonl", "parquet") and not named:
        table.problem(key, f"is {kind}, whose columns have names; give these in 'columns'")


def digest(table: Table, key: str, given: str) -> None:
    """Record a problem if a digest is malformed."""
    if given and not re.fullmatch(r"[0-9a-f]{64}", given):
        table.problem(key, f"must be 64 hex digits, as sha256sum prints them, not {shown(given)}")


def raters(table: Table) -> Raters | None:
    """Take the key 'raters': where the scores of the single raters are."""
    if not table.has("raters"):
        table.take("raters", dict)
        return None
    inner = table.table("raters")
    found = Raters(
        kind=word(inner, "kind", "human", ("human", "model")),
        column=inner.take("column", str, ""),
        file=file_key(inner, "file", "", "", required=False, named=True),
        id=inner.take("id", str, ""),
        columns=inner.strings("columns"),
        sha256=inner.take("sha256", str, ""),
    )
    digest(inner, "sha256", found.sha256)
    if bool(found.column) == bool(found.file):
        inner.problem(
            "column", "or 'file' is needed, and only one of them: a list in the split's file, or a file of its own"
        )
    elif found.file and (not found.id or len(found.columns) < 2):
        inner.problem(
            "columns", "and 'id' are needed with 'file': two raters or more, and the column that both files share"
        )
    elif found.column and (found.id or found.columns):
        inner.problem("columns", "goes with 'file'; a 'column' of the split's file holds a list of scores in every row")
    inner.finish()
    return found


def url_key(table: Table, sha256: str) -> str:
    """Take the key 'url' of a split; a file at a URL needs the digest of its bytes."""
    url = table.take("url", str, "")
    if not url:
        return ""
    if fault := url_fault(url):
        table.problem("url", f"{fault}, not {shown(url)}" if fault.startswith("must") else fault)
    if not sha256:
        table.problem("sha256", "is missing; a file at a url is only used with its digest, as sha256sum prints it")
    return url


def long_texts(table: Table) -> str:
    """Take the key 'long': what encoders do with texts above their maximum length, "" for truncation."""
    return word(table, "long", "", ("", *LONG))


def distractors(table: Table) -> tuple[str, ...]:
    """Take the key 'distractors': text files below the card's folder, one or a list."""
    one = isinstance(table.peek("distractors"), str)
    files = (table.take("distractors", str, ""),) if one else table.strings("distractors")
    for file in files:
        if not file or _escapes(file):
            table.problem("distractors", f"must be a text file below the card's folder, not {shown(file)}")
    return tuple(dict.fromkeys(files))


def prose(table: Table, title: str) -> dict[str, Any]:
    """Take the keys that are only for readers."""
    return {
        "title": table.take("title", str, title),
        "language": table.take("language", str, "zh"),
        "licence": table.take("licence", str, "not stated"),
        "terms": table.take("terms", str, "not stated"),
        "homepage": table.take("homepage", str, ""),
        "citation": table.take("citation", str, "").strip(),
        "description": table.take("description", str, "").strip(),
    }


def _escapes(file: str) -> bool:
    windows = PureWindowsPath(file)
    return bool(windows.anchor) or ".." in windows.parts or "\0" in file or "\\" in file
