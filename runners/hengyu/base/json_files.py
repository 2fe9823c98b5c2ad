"""JSON documents: written whole or not at all, read back as if from a stranger: shapes are checked, NaN is refused."""

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
"""What may become the name of a file or folder: letters, digits, '-', '_' and '.', no leading dot."""


_DIGITS = 300  # of a whole number: a double holds 308
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # an escape of half a pair, as far as the text shows
_HALF = re.compile("[\ud800-\udfff]")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: to a temporary neighbour, flushed, then renamed."""
    write_blocks(path, (content,))


def write_blocks(path: Path, blocks: Iterable[bytes]) -> None:
    """Write a file of blocks, which are asked for one by one, whole or not at all."""
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
            f"{path}: cannot be written ({e.strerror or e}); make room or check permissions, what was finished is kept"
        ) from e


def _refuse_special(path: Path) -> None:
    """Refuse to put a file in the place of a device or pipe, like /dev/null."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return  # it is not there, or whoever makes it will say what is wrong
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise HengyuError(f"{path}: is a device, pipe or socket, which would be replaced; name a regular file")


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically: sorted keys, UTF-8, never NaN."""
    text = json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    write_bytes(path, (text + "\n").encode("utf-8"))


def parse(content: bytes, *, finite: bool = True) -> Any:
    """Parse JSON in UTF-8; raises ValueError for what is none, or holds what no double or no UTF-8 text can.

    That is half a surrogate pair, a whole number of hundreds of digits, or nesting of thousands of brackets; with ``finite``
    also NaN and infinity, which other programs write into their JSON.
    """
    text = content.decode("utf-8-sig")
    try:
        if finite:
            found = json.loads(text, parse_int=_whole, parse_constant=_refuse, parse_float=_finite)
        else:
            found = json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if _SURROGATE.search(text):
        _refuse_halves(found)
    return found


def _refuse_halves(content: Any) -> None:
    """Raise ValueError where a string holds half a surrogate pair, which cannot be written anywhere."""
    rest = [content]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            rest += one.keys()
            rest += one.values()
        elif isinstance(one, list):
            rest += one
        elif isinstance(one, str) and _HALF.search(one):
            raise ValueError("it holds half a surrogate pair, which is no character")


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"a number of {len(text)} digits is too large")
    return int(text)


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number")
    return number


def read_document(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON object; raises `HengyuError`, which ends with the remedy."""
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
    """Return the seconds by key of a timings.json; what cannot be read counts as nothing, since no number follows from it."""
    try:
        seconds = parse(read_bytes(path))["seconds"]
        return {str(k): float(v) for k, v in seconds.items() if type(v) in (int, float)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return {}


def fill(kind: type[T], row: Any) -> T:
    """Make a dataclass of a JSON object, unknown keys left out; raises TypeError where a value is not of its field's type."""
    if not isinstance(row, Mapping):
        raise TypeError(f"{str(row)[:40]!r} stands where an object must")
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
    """Hold a document against a JSON schema; raises `HengyuError` that names the place of the first mistake."""
    from jsonschema import Draft202012Validator

    mistake = next(iter(Draft202012Validator(shape).iter_errors(content)), None)
    if mistake is not None:
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in mistake.absolute_path).lstrip(".")
        what = f"key '{place}'" if place else "it"
        raise HengyuError(f"{path}: {what} is not as it was written ({mistake.message[:120]}); {remedy}")
