"""What the index says of each run, kept, so that hundreds of runs are listed without reading their records again."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hengyu.base.bounded import read_bytes
from hengyu.base.errors import HengyuError
from hengyu.base.json_files import NAME, fill, parse, write_json
from hengyu.storage.identity import digest
from hengyu.storage.records import Run, load_run

__all__ = ["Listed", "Summaries"]

_FILE = "listing.json"
_SCHEMA = 2
_LISTS = {"tasks": None, "encoders": None, "best": 4}  # fields that are lists of words, with their length
_READ = ("sums.json", "run.json", "records.json", "costs.json")  # what a line is made of, the seal first


@dataclass(frozen=True)
class Listed:
    """One run as a line of the index."""

    id: str
    suite: str
    title: str
    tasks: tuple[str, ...] = ()
    encoders: tuple[str, ...] = ()  # baselines left out, unless there is nothing else
    rows: int = 0
    metric: str = ""  # of the best row
    of: str = ""  # the column it is best in
    value: float | None = None
    interval: str = ""
    best: tuple[str, str, str, str] = ("", "", "", "")  # encoder, pooling, entry, fit_on
    date: str = ""  # when its records were written, UTC
    link: str = ""  # to its page, relative to the index; "" where it has none
    verified: bool = True  # whether its files were held against checksums
    problem: str = ""  # why it cannot be read; "" where it can


class Summaries:
    """The lines of the runs of a reports folder, kept in ``site/listing.json``; one is made anew when its run has changed.

    A run has changed when its seal, or size or time of a file, is another; its bytes are not read. A file that cannot be
    read, or is not as it was written, counts as nothing.
    """

    def __init__(self, site: Path) -> None:
        self.path = site / _FILE
        self._kept = _read(self.path)
        self._met: dict[str, dict[str, Any]] = {}

    def line(self, folder: Path, make: Callable[[Run], Listed]) -> Listed:
        """Return the line of a run's folder, kept or made; raises `HengyuError` where the run cannot be read."""
        state = _state(folder)
        kept = self._kept.get(folder.name)
        line = _restored(kept["line"]) if kept and kept["state"] == state else None
        if line is None or kept is None:
            line = make(load_run(folder))
            kept = {"state": state, "line": asdict(line)}
        self._met[folder.name] = kept
        return line

    def save(self) -> None:
        """Write the lines met, where they are not those that were read; a folder that cannot be written is left."""
        if self._met == self._kept:
            return
        try:
            write_json(self.path, {"schema": _SCHEMA, "runs": self._met, "sha256": digest(self._met)})
        except HengyuError:
            return  # the next index reads the records again
        self._kept = self._met


def _state(folder: Path) -> str:
    """Return a hash of a run's seal and of the sizes and times of the files that a line is made of."""
    seal = folder / _READ[0]
    found: list[Any] = [seal.read_text(encoding="utf-8", errors="replace") if seal.is_file() else ""]
    for name in _READ:
        path = folder / name
        found.append((path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None)
    return digest(found)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = parse(read_bytes(path))
        runs = content["runs"] if content["schema"] == _SCHEMA and content["sha256"] == digest(content["runs"]) else {}
        return {str(name): kept for name, kept in runs.items() if {"state", "line"} <= kept.keys()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _restored(row: Any) -> Listed | None:
    """Return a kept line, None where it is none."""
    try:
        lists: Any = {name: _words(row[name], length) for name, length in _LISTS.items()}
        line: Listed = replace(fill(Listed, {k: v for k, v in row.items() if k not in lists}), **lists)
    except (TypeError, KeyError, AttributeError):
        return None
    return line if re.search(NAME, line.id) else None  # it becomes a path and a link


def _words(values: Any, length: int | None) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or (length or len(values)) != len(values):
        raise TypeError(f"{str(values)[:40]!r} are no words")
    return tuple(map(str, values))
