"""Who uses what of a store: a process holds what it reads, and notes when, so that `hengyu store gc` deletes neither.

A stored thing is held by a shared lock on the file that says what it is (``space.json``, ``hengyu.json``), which ends with
the process, however it ends. Its last use is the modification time of that file. Reading needs no permission to write: in
a store that is read-only the lock still holds, and only the time of the last use is not noted.
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

_GONE = ".gone-"  # what a folder that is being deleted is called, so that nobody finds half of it


class Held:
    """A stored thing that this process reads; it is let go of when the object is deleted or the process ends."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def names(self, path: Path) -> bool:
        """Tell whether a path still leads to the file that is held."""
        try:
            return self.handle >= 0 and os.path.samestat(os.fstat(self.handle), path.stat())
        except OSError:
            return False

    def release(self) -> None:
        """Let go of it; a second time does nothing."""
        handle, self.handle = self.handle, -1
        if handle >= 0:
            with suppress(OSError):
                os.close(handle)

    def __del__(self) -> None:
        self.release()

    def __reduce__(self) -> tuple[type[Held], tuple[int]]:
        """Hold nothing in another process."""
        return (Held, (-1,))


def hold(path: Path) -> Held | None:
    """Hold a stored thing by the file that says what it is; None when there is no such file."""
    while True:
        try:
            held = Held(os.open(path, os.O_RDONLY))
        except OSError:
            return None
        _lock(held.handle, alone=False)
        if held.names(path):
            return held  # else it was deleted before the lock was ours


@contextmanager
def unused(path: Path) -> Iterator[bool]:
    """Yield whether no process holds a stored thing by this file; until the end of the block none can begin to."""
    try:
        held = Held(os.open(path, os.O_RDWR))
    except FileNotFoundError:
        yield True
        return
    except OSError:
        yield False  # who may not write it may not delete it
        return
    try:
        yield _lock(held.handle, alone=True) and held.names(path)
    finally:
        held.release()


def _lock(handle: int, *, alone: bool) -> bool:
    """Take a shared lock, or one ``alone`` if it is free at once; returns whether it may be gone on with.

    Where there are no locks (Windows, some network file systems) the time of the last use alone protects.
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
    """Note that a stored thing is used now; nothing is noted in a store that may only be read."""
    with suppress(OSError):
        os.utime(path)


def changed_at(path: Path) -> float:
    """Return when a path was last changed, in seconds since 1970; now for one that is gone: somebody works on it."""
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def delete(folder: Path) -> int:
    """Delete a folder, first under another name so that nobody reads half of it; returns the bytes freed."""
    gone = folder.with_name(f"{_GONE}{uuid.uuid4().hex}") if not folder.name.startswith(_GONE) else folder
    try:
        folder.rename(gone)
    except OSError:
        return 0
    freed = size_of(gone)
    shutil.rmtree(gone, ignore_errors=True)
    return freed - size_of(gone)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of the files below a folder; those that vanish meanwhile count as nothing."""
    total = 0
    for file in (path, *path.rglob("*")) if path.is_dir() else (path,):
        with suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def leftovers(root: Path) -> list[Path]:
    """Return what an interrupted `delete` has left directly below a folder."""
    return list(root.glob(f"{_GONE}*"))


def in_seconds(days: float) -> float:
    """Return days as seconds; raises `HengyuError` for what is no such number."""
    if not (math.isfinite(days) and days >= 0):
        raise HengyuError(f"--days {days:g}: must be a number of days, 0 or more")
    return days * 86400
