"""Runs that did not finish: a run writes a marker when it starts and removes it when all its files are written."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hengyu.base.errors import HengyuError
from hengyu.base.json_files import write_json
from hengyu.base.paths import reports_dir
from hengyu.storage.records import find_run

__all__ = ["Unfinished", "find_finished", "mark_finished", "mark_started", "refuse_unfinished"]

_MARKER = "unfinished.json"
_DONE = ("records.json", "run.json")


class Unfinished(HengyuError):
    """A run's last start, or the newest run, did not finish, so its numbers would be older ones."""


def mark_started(folder: Path) -> None:
    """Write the marker into a run's folder."""
    write_json(folder / _MARKER, {"started": datetime.now(UTC).isoformat(timespec="seconds")})


def mark_finished(folder: Path) -> None:
    """Remove the marker, after all files of the run are written."""
    try:
        (folder / _MARKER).unlink(missing_ok=True)
    except OSError as e:
        raise HengyuError(f"{folder / _MARKER}: cannot be removed ({e.strerror or e}); check permissions") from None


def find_finished(word: str) -> Path:
    """Return the folder of a run, named as for `find_run`; raises `Unfinished` if it did not finish."""
    try:
        folder = find_run(word)
    except HengyuError:
        base = reports_dir() / "records"
        for path in sorted(base.iterdir()) if base.is_dir() else ():
            if (word == "latest" or path.name.startswith(word)) and path.is_dir() and _unfinished_since(path) >= 0:
                raise Unfinished(
                    f"{path}: did not finish and has no numbers; wait for it, or run the suite again"
                ) from None
        raise
    refuse_unfinished(folder, latest=word == "latest")
    return folder


def refuse_unfinished(folder: Path, *, latest: bool = False) -> None:
    """Raise `Unfinished` if a run's last start did not finish, or, for ``latest``, if a newer run did not.

    A killed run and a running one cannot be distinguished.
    """
    if (folder / _MARKER).is_file():
        raise Unfinished(
            f"{folder}: its last run was started ({_started(folder)}) and did not finish, so its numbers are those of "
            "an earlier one; wait for it, or run the suite again"
        )
    if not latest:
        return
    done = (folder / "records.json").stat().st_mtime_ns
    newer = [p for p in folder.resolve().parent.iterdir() if p.is_dir() and _unfinished_since(p) > done]
    if newer:
        other = max(newer, key=_unfinished_since)
        raise Unfinished(
            f"{other}: this run did not finish, and is newer than {folder.name}, the latest finished one; wait for it, run "
            f"its suite again, or give {folder.name} instead of 'latest'"
        )


def _unfinished_since(folder: Path) -> int:
    """Return when an unfinished run last wrote, in nanoseconds; -1 for a finished one, or if there is no run."""
    marked = (folder / _MARKER).is_file()
    if not marked and (all((folder / name).is_file() for name in _DONE) or folder.name.startswith(".")):
        return -1
    try:
        return max((p.stat().st_mtime_ns for p in (folder, *folder.iterdir())), default=-1)
    except OSError:
        return -1


def _started(folder: Path) -> str:
    return datetime.fromtimestamp((folder / _MARKER).stat().st_mtime, UTC).isoformat(" ", "seconds")
