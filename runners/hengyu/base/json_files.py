"""JSON documents: written whole or not at all, read back as if from a stranger.

What a document must hold is declared once, as a type: a dataclass, a `msgspec.Struct`, or a plain type such as
``dict[str, str]``. Values of another type, numbers that are not finite and text that is not UTF-8 are refused.
"""

from __future__ import annotations

import codecs
import json
import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar, overload

import msgspec
from msgspec import Meta, Struct

from hengyu.base.bounded import read_bytes
from hengyu.base.errors import HengyuError

__all__ = [
    "NAME",
    "Name",
    "check",
    "find_json",
    "parse",
    "read_json",
    "read_seconds",
    "shaped",
    "write_blocks",
    "write_bytes",
    "write_json",
]

T = TypeVar("T")

NAME = r"^(?!\.)[\w.-]+\Z"
"""What may become the name of a file or folder: letters, digits, '-', '_' and '.', no leading dot."""

Name = Annotated[str, Meta(pattern=NAME, max_length=200)]
"""A string that becomes the name of a file or folder."""


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
    # json indents in Python, which takes several times as long as writing one line and laying it out
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, allow_nan=False)
    write_bytes(path, msgspec.json.format(text.encode("utf-8"), indent=1) + b"\n")


class _Versioned(Struct):
    schema: Any = None


class _Timings(Struct):
    seconds: dict[str, float]


@overload
def parse(content: bytes) -> Any: ...
@overload
def parse(content: bytes, kind: type[T]) -> T: ...
def parse(content: bytes, kind: Any = Any) -> Any:
    """Read JSON as a type says; raises ValueError, which goes after a file's name and says where the first mistake is.

    A key that stands twice counts once, the last one. Keys that the type does not have are left out, unless it forbids them.
    """
    text = content.removeprefix(codecs.BOM_UTF8)
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as e:
        raise ValueError(_said(e)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise ValueError(f"not JSON ({_where(text, e)})") from None


def shaped(content: Any, kind: type[T]) -> T:
    """Hold JSON that was read already against a type; raises ValueError as `parse` does."""
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as e:
        raise ValueError(_said(e)) from None


def _said(mistake: msgspec.ValidationError) -> str:
    """Say which key is wrong, and how: ``Expected `int`, got `str` - at `$.records[0].n``` is what the library says."""
    what, _, place = str(mistake).partition(" - at `$")
    place = place.removesuffix("`").removeprefix(".")
    for words, end in (
        ("Object missing required field `", "is missing"),
        ("Object contains unknown field `", "is unknown"),
    ):
        if what.startswith(words):
            name = what.removeprefix(words).removesuffix("`")[:40]
            return f"key '{f'{place}.' if place else ''}{name}' {end}"
    where = f"key '{place}'" if place else "it"
    return f"{where} is not as it was written ({what.replace('`', '')[:120]})"


def _where(text: bytes, mistake: Exception) -> str:
    """Say by line and column where JSON is malformed, which the standard library knows."""
    try:
        json.loads(text, parse_constant=_refuse)
    except RecursionError as e:
        mistake = e
    except ValueError as e:
        return str(e)
    if isinstance(mistake, RecursionError):
        return "it is nested too deep"
    return f"{mistake}; a string may hold half a surrogate pair"  # all else that json takes and msgspec does not


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is not a number")


def read_json(path: Path, kind: type[T], remedy: str, schemas: tuple[int, ...] = ()) -> T:
    """Read a JSON file as a type says; raises `HengyuError` with file, key, what is wrong and the remedy.

    With ``schemas``, a file of another schema is refused as such, whatever else it holds.
    """
    try:
        content = read_bytes(path)
        if schemas:
            found = parse(content, _Versioned).schema
            if type(found) is not int or found not in schemas:
                raise ValueError(f"schema {str(found)[:40]} where this version reads {' and '.join(map(str, schemas))}")
        return parse(content, kind)
    except OSError as e:
        raise HengyuError(f"{path}: cannot be read ({e.strerror or e}); {remedy}") from None
    except ValueError as e:
        raise HengyuError(f"{path}: {e}; {remedy}") from None


def find_json(path: Path, kind: type[T]) -> T | None:
    """Read a JSON file as a type says; None where it is not there, cannot be read, or is not as the type says."""
    try:
        return parse(read_bytes(path), kind)
    except (OSError, ValueError):
        return None


def check(content: Any, kind: type[T], path: Path, remedy: str) -> T:
    """Hold what was read of a file against a type; raises `HengyuError` as `read_json` does."""
    try:
        return shaped(content, kind)
    except ValueError as e:
        raise HengyuError(f"{path}: {e}; {remedy}") from None


def read_seconds(path: Path) -> dict[str, float]:
    """Return the seconds by key of a timings.json; what cannot be read counts as nothing, since no number follows from it."""
    found = find_json(path, _Timings)
    return found.seconds if found else {}
