"""What the index says of each run, kept, so that hundreds of runs are listed without reading their records again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, to_builtins

from hengyu.base.errors import HengyuError
from hengyu.base.json_files import Name, find_json, write_json
from hengyu.storage.identity import digest
from hengyu.storage.records import Run, load_run

__all__ = ["Listed", "Summaries"]

_FILE = "listing.json"
_READ = ("sums.json", "run.json", "records.json", "costs.json")  # what a line is made of, the seal first


@dataclass(frozen=True)
class Listed:
    """One run as a line of the index."""

    id: Name  # it becomes a path and a link
    suite: str
    title: str
    tasks: tuple[str, ...] = ()
    encoders: tuple[str, ...] = ()  # baselines left out, unless there is nothing else
    rows: int = 0
    metric: str = ""  # of the best row
    of: str = ""  # the column it is best in: "mean", or the only task
    value: float | None = None
    interval: str = ""
    best: tuple[str, str, str, str] = ("", "", "", "")  # encoder, pooling, entry, fit_on; a baseline only where all are
    baseline: str = ""  # the strongest baseline
    baseline_value: float | None = None
    date: str = ""  # when its records were written, UTC
    link: str = ""  # to its page, relative to the index; "" where it has none
    verified: bool = True  # whether its files were checked against their checksums
    problem: str = ""  # why it cannot be read; "" where it can


class _Kept(Struct):
    """A line, and the `_state` of the run that it was made of."""

    state: str
    line: Listed


class _Listing(Struct):
    """listing.json."""

    schema: Literal[3]
    runs: dict[str, _Kept]
    sha256: str


class Summaries:
    """The lines of the runs of a reports folder, kept in ``site/listing.json``; one is made anew when its run has changed.

    A run has changed when its seal, or size or time of a file, is another; its bytes are not read. A file that cannot be
    read, or is not as it was written, counts as nothing.
    """

    def __init__(self, site: Path) -> None:
        self.path = site / _FILE
        self._kept = _read(self.path)
        self._met: dict[str, _Kept] = {}

    def line(self, folder: Path, make: Callable[[Run], Listed]) -> Listed:
        """Return the line of a run's folder, kept or made; raises `HengyuError` where the run cannot be read."""
        state = _state(folder)
        kept = self._kept.get(folder.name)
        if kept is None or kept.state != state:
            kept = _Kept(state, make(load_run(folder)))
        self._met[folder.name] = kept
        return kept.line

    def save(self) -> None:
        """Write the lines met, where they are not those that were read; a folder that cannot be written is left."""
        if self._met == self._kept:
            return
        runs = to_builtins(self._met)
        try:
            write_json(self.path, {"schema": 3, "runs": runs, "sha256": digest(runs)})
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


def _read(path: Path) -> dict[str, _Kept]:
    found = find_json(path, _Listing)
    return found.runs if found and found.sha256 == digest(to_builtins(found.runs)) else {}
