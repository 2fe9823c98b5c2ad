"""A run as it may be published: no path of the machine it was made on, names in their place."""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import urlsplit

from hengyu.base.bounded import resolved, user_path
from hengyu.base.paths import cache_dir, checkout
from hengyu.storage.records import Run
from hengyu.storage.records.sources import find_sources

__all__ = ["hide_paths", "public", "public_command"]

_ENDS = r"\s'\"`,;:()<>|\[\]{}"
# two parts at least: "and/or", "1/2", "/" and the names of models are no paths
_PATH = re.compile(
    rf"(?<![\w./~:>-])(?:~|file://)?/(?:[^/{_ENDS}]+/)+[^/{_ENDS}]*|~/[^/{_ENDS}]+|(?<!\w)(?:[A-Za-z]:\\|\\\\)[^{_ENDS}]+"
)
_LEFT_OUT = {"--out", "--store", "--address"}  # where things are put, which no number depends on
_SHORTEST = 2  # parts of a folder that is looked for by its name: "/" and "/tmp" alone tell nothing
_KEYS = ("encoder", "task", "card", "split", "entry", "pooling", "fit_on", "run")  # by which rows are found


def public(run: Run) -> Run:
    """Return a run without local paths: in its command, its environment, its header, and the reasons of its records.

    A path becomes its last part; what it led to is told by digests (see `hengyu.report.page.provenance`). Rows keep their names.
    """
    hide = _hider(_places(run))
    command = run.environment.get("command")
    environment = {key: hide(str(value)) if isinstance(value, str) else value for key, value in run.environment.items()}
    if isinstance(environment.get("earlier"), list):
        environment["earlier"] = _deep(environment["earlier"], hide)
    if command:
        environment["command"] = public_command(str(command))
    return replace(
        run,
        header=_deep(run.header, hide),
        environment=environment,
        records=tuple(r if not r.reason else replace(r, reason=hide(r.reason)) for r in run.records),
        unverified=hide(run.unverified),
    )


def hide_paths(text: str, folders: Iterable[Path] = ()) -> str:
    """Return a text with the last part of each absolute path in the path's place; ``folders`` may hold blanks."""
    return _hider([*folders, *_usual()])(text)


def public_command(command: str) -> str:
    """Return a command without local paths, and without the options that only say where things are put."""
    try:
        words = shlex.split(command)
    except ValueError:
        return hide_paths(command)
    return shlex.join(_shown(words))


def _shown(words: list[str]) -> Iterator[str]:
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if option in _LEFT_OUT:
            if not equals:
                next(rest, None)
        elif word.startswith("--") and equals:
            yield f"{option}={_name(value)}"
        else:
            yield _name(word)


def _name(word: str) -> str:
    """Return an argument: of a path that is absolute, leads upwards or starts at the home folder, its last part alone."""
    name, equals, value = word.partition("=")
    if equals and name and "/" not in name and "\\" not in name:
        return f"{name}={_name(value)}"  # NAME=DIR
    if "://" in word:
        return PurePosixPath(urlsplit(word).path).name or "URL"
    windows = PureWindowsPath(word)
    if windows.drive or word.startswith("\\"):
        return windows.name or "."
    path = PurePosixPath(word)
    if path.is_absolute() or ".." in path.parts or word.startswith("~"):
        return resolved(user_path(word)).name or "."
    return word


def _deep(value: Any, hide: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, Mapping):
        return {key: item if key in _KEYS else _deep(item, hide) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_deep(item, hide) for item in value]
    return value


def _hider(folders: Iterable[Path]) -> Callable[[str], str]:
    """Return what puts the last part of a path in its place, of those below the folders even where they hold blanks."""
    known = {str(p) for p in folders if len(p.parts) > _SHORTEST}
    words = "|".join(re.escape(p) for p in sorted(known, key=len, reverse=True))
    named = re.compile(rf"(?:{words})(?:[/\\][^{_ENDS}]*)?") if words else None

    def last(match: re.Match[str]) -> str:
        return re.split(r"[/\\]", match[0].rstrip("/\\"))[-1]

    def hide(text: str) -> str:
        if "/" not in text and "\\" not in text:
            return text
        return _PATH.sub(last, named.sub(last, text) if named else text)

    return hide


def _usual() -> list[Path]:
    found = [Path.home(), Path.cwd(), cache_dir(), Path(tempfile.gettempdir())]
    return [*found, root] if (root := checkout()) else found


def _places(run: Run) -> list[Path]:
    """Return the folders that a run is known to have to do with."""
    found = [*_usual(), run.path.absolute(), run.path.absolute().parent.parent]
    sources = find_sources(run.path)
    named = [sources.data, *sources.datasets]
    named += [str(spec[key]) for spec in sources.encoders.values() for key in ("model", "texts") if spec.get(key)]
    with suppress(ValueError):
        named += shlex.split(str(run.environment.get("command") or ""))
    found += [Path(word.rpartition("=")[2]) for word in named]
    return [p for p in found if p.is_absolute()]
