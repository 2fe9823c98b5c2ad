"""JSON documents: written atomically, and never trusted when read: shapes are checked and NaN is refused."""

from __future__ import annotations

import json
import math
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from hengyu.base.bounded import read_bytes
from hengyu.base.errors import HengyuError

__all__ = [
    "NAME",
    "check",
    "fill",
    "parse",
    "read_document",
    "read_seconds",
    "write_blocks",
    "write_bytes",
    "write_json",
]

T = TypeVar("T")

NAME = r"^(?!\.)[\w.-]+\Z"
"""Allowed names of files and folders: letters, digits, '-', '_' and '.', no leading dot."""


_DIGITS = 300  # of an integer: a double's largest has 309
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # may be half a pair; the parsed strings decide
_HALF = re.compile("[\ud800-\udfff]")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: to a temporary file beside it, flushed, then renamed."""
    write_blocks(path, (content,))


def write_blocks(path: Path, blocks: Iterable[bytes]) -> None:
    """Write a file atomically from an iterator of blocks."""
    handle = -1
    temporary = ""
    _refuse_special(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            for block in blocks:
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except OSError as e:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise HengyuError(
            f"{path}: cannot be written ({e.strerror or e}); free some space or check permissions; finished parts are kept"
        ) from e


def _refuse_special(path: Path) -> None:
    """Refuse to replace a device or pipe, like /dev/null, by a file."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return  # it does not exist, or creating it will report what is wrong
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise HengyuError(f"{path}: is a device, pipe or socket, which would be replaced; name a regular file")


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically: sorted keys, UTF-8, never NaN."""
    text = json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    write_bytes(path, (text + "\n").encode("utf-8"))


def parse(content: bytes, *, finite: bool = True) -> Any:
    """Parse UTF-8 JSON; raises ValueError if it is invalid, or has values that no double or UTF-8 text can hold.

    Refused are lone surrogates, integers of hundreds of digits and nesting thousands deep; with ``finite`` also NaN and
    infinity, which other programs write into their JSON.
    """
    text = content.decode("utf-8-sig")
    try:
        if finite:
            found = json.loads(text, parse_int=_whole, parse_constant=_refuse, parse_float=_finite)
        else:
            found = json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _SURROGATE.search(text):
        _refuse_halves(found)
    return found


def _refuse_halves(content: Any) -> None:
    """Raise ValueError if a string contains half a surrogate pair, which cannot be written as UTF-8."""
    rest = [content]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            rest += one.keys()
            rest += one.values()
        elif isinstance(one, list):
            rest += one
        elif isinstance(one, str) and _HALF.search(one):
            raise ValueError("it contains half a surrogate pair, which is not a character")


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"a number of {len(text)} digits is too large")
    return int(text)


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text} is too large")
    return number


def read_document(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON object; raises `HengyuError` that ends with ``remedy``."""
    try:
        content = parse(read_bytes(path))
    except OSError as e:
        raise HengyuError(f"{path}: cannot be read ({e.strerror or e}); {remedy}") from None
    except ValueError as e:
        raise HengyuError(f"{path}: not JSON ({e}); {remedy}") from None
    if not isinstance(content, dict):
        raise HengyuError(f"{path}: must be a JSON object; {remedy}")
    return content


def read_seconds(path: Path) -> dict[str, float]:
    """Return the seconds by key of a timings.json; empty if it cannot be read, since no score depends on it."""
    try:
        seconds = parse(read_bytes(path))["seconds"]
        return {str(k): float(v) for k, v in seconds.items() if type(v) in (int, float)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return {}


def fill(kind: type[T], row: Any) -> T:
    """Make a dataclass from a JSON object, ignoring unknown keys; raises TypeError for a value of the wrong type."""
    if not isinstance(row, Mapping):
        raise TypeError(f"{str(row)[:40]!r} is not an object")
    values: dict[str, Any] = {}
    for name, kinds, required in _shape(kind):  # type: ignore[arg-type]
        if name not in row:
            if required:
                raise TypeError(f"'{name}' is missing")
            continue
        value = row[name]
        if float in kinds and type(value) is int and abs(value) < 1 << 53:
            value = float(value)
        if type(value) not in kinds:
            raise TypeError(f"'{name}' is {str(value)[:40]!r}")
        values[name] = value
    return kind(**values)


@cache
def _shape(kind: type[Any]) -> tuple[tuple[str, tuple[type, ...], bool], ...]:
    hints = get_type_hints(kind)
    return tuple(
        (
            f.name,
            get_args(hints[f.name]) if isinstance(hints[f.name], UnionType) else (hints[f.name],),
            f.default is MISSING,
        )
        for f in fields(kind)
    )


def check(content: Mapping[str, Any], shape: Mapping[str, Any], path: Path, remedy: str) -> None:
    """Check a document against a JSON schema; raises `HengyuError` that names the first mistake."""
    from jsonschema import Draft202012Validator

    mistake = next(iter(Draft202012Validator(shape).iter_errors(content)), None)
    if mistake is not None:
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in mistake.absolute_path).lstrip(".")
        what = f"key '{place}'" if place else "it"
        raise HengyuError(f"{path}: {what} is not as it was written ({mistake.message[:120]}); {remedy}")
