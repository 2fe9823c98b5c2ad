"""The timings of a run, which differ from run to run and so are not part of the records."""

from __future__ import annotations

import time
from pathlib import Path

from hengyu.base.json_files import read_seconds
from hengyu.storage.records import write_json

__all__ = ["Clock"]

_SAVE_SECONDS = 10.0


class Clock:
    """Seconds by cell; those of reused cells are kept. Without a path they are not written."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.saved = time.monotonic()
        self.seconds = read_seconds(path) if path else {}

    def note(self, key: str, seconds: float) -> None:
        """Record the duration of a cell, an encoding or a fit, and save now and then."""
        self.seconds[key] = round(seconds, 6)
        if time.monotonic() - self.saved > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write timings.json."""
        if self.path:
            write_json(self.path, {"seconds": self.seconds})
        self.saved = time.monotonic()
