"""Use of stored things: a process locks what it reads and records when, so that `hengyu store gc` does not delete it.

The lock is a shared lock on the file that describes the thing (``space.json``, ``hengyu.json``); it ends with the process.
The last use is the modification time of that file. Reading needs no write permission: in a read-only store the lock still
works, and only the time of the last use is not recorded.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hengyu.base.errors import HengyuError

__all__ = ["Held", "changed_at", "delete", "hold", "in_seconds", "leftovers", "note_use", "size_of", "unused"]

_GONE = ".gone-"  # prefix of a folder that is being deleted, so that nobody finds half of it


class Held:
    """A stored thing that this process reads; it is released when the object is deleted or the process ends."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def names(self, path: Path) -> bool:
        """Whether a path still leads to the locked file."""
        try:
            return self.handle >= 0 and os.path.samestat(os.fstat(self.handle), path.stat())
        except OSError:
            return False

    def release(self) -> None:
        """Release it; a second call does nothing."""
        handle, self.handle = self.handle, -1
        if handle >= 0:
            with suppress(OSError):
                os.close(handle)

    def __del__(self) -> None:
        self.release()

    def __reduce__(self) -> tuple[type[Held], tuple[int]]:
        """The lock is not passed on to other processes."""
        return (Held, (-1,))


def hold(path: Path) -> Held | None:
    """Lock a stored thing by the file that describes it; None if there is no such file."""
    while True:
        try:
            held = Held(os.open(path, os.O_RDONLY))
        except OSError:
            return None
        _lock(held.handle, alone=False)
        if held.names(path):
            return held  # otherwise it was deleted before we had the lock


@contextmanager
def unused(path: Path) -> Iterator[bool]:
    """Yield whether no process uses a stored thing with this file; until the end of the block none can start to."""
    try:
        held = Held(os.open(path, os.O_RDWR))
    except FileNotFoundError:
        yield True
        return
    except OSError:
        yield False  # without write permission it cannot be deleted
        return
    try:
        yield _lock(held.handle, alone=True) and held.names(path)
    finally:
        held.release()


def _lock(handle: int, *, alone: bool) -> bool:
    """Take a shared lock, or an exclusive one (``alone``) if it is free at once; returns whether to proceed.

    Without locks (Windows, some network file systems) only the time of the last use protects.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def note_use(path: Path) -> None:
    """Record that a stored thing is used now, unless the store is read-only."""
    with suppress(OSError):
        os.utime(path)


def changed_at(path: Path) -> float:
    """Return when a path was last changed, in seconds since 1970; now for a missing one: somebody works on it."""
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def delete(folder: Path) -> int:
    """Delete a folder, after renaming it so that nobody reads half of it; returns the bytes freed."""
    gone = folder.with_name(f"{_GONE}{uuid.uuid4().hex}") if not folder.name.startswith(_GONE) else folder
    try:
        folder.rename(gone)
    except OSError:
        return 0
    freed = size_of(gone)
    shutil.rmtree(gone, ignore_errors=True)
    return freed - size_of(gone)


def size_of(path: Path) -> int:
    """Return the size in bytes of a file, or of all files below a folder; files that vanish meanwhile count as 0."""
    total = 0
    for file in (path, *path.rglob("*")) if path.is_dir() else (path,):
        with suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def leftovers(root: Path) -> list[Path]:
    """Return the leftovers of an interrupted `delete` directly below a folder."""
    return list(root.glob(f"{_GONE}*"))


def in_seconds(days: float) -> float:
    """Return days as seconds; raises `HengyuError` for negative or non-finite numbers."""
    if not (math.isfinite(days) and days >= 0):
        raise HengyuError(f"--days {days:g}: must be a number of days, 0 or more")
    return days * 86400
