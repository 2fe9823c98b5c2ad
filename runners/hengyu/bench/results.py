"""What a run has seen so far: its cells in order, failures, seconds, costs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from hengyu.base.progress import Progress, Tick
from hengyu.storage.records.costs import note_costs
from hengyu.storage.records.observations import Observation
from hengyu.storage.timings import Clock
from hengyu.suites.suite import Suite
from hengyu.tasks.interface.data import TaskData

__all__ = ["ResultLog"]


@dataclass
class ResultLog:
    """What a run has seen so far; what it is of stands in its context.

    Attributes:
        folder: the run's folder.
        seen: what was seen of every cell, in the suite's order, without the arrays: these lie on disk.
        failures: a sentence for every cell that failed.
        observed: cells observed in this run.
        kept: cells found finished.
    """

    folder: Path
    clock: Clock
    seen: list[Observation] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    observed: int = 0
    kept: int = 0
    _tick: Tick = field(default=lambda done: None, init=False, repr=False)
    _done: int = field(default=0, init=False, repr=False)

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Return that of a run's folder, with the seconds that an earlier, killed run has noted."""
        return cls(folder, Clock(folder / "timings.json"))

    @contextmanager
    def stage(self, progress: Progress, title: str, cells: int) -> Iterator[None]:
        """Show how many of so many cells are done."""
        with progress.stage(title, cells) as tick:
            self._tick, self._done = tick, 0
            yield
        self._tick = lambda done: None

    def tick(self, cells: int) -> None:
        """Say that so many more cells are done."""
        self._done += cells
        self._tick(self._done)

    def note_seconds(self, key: str, seconds: float) -> None:
        """Note what a cell, an encoding, a fit or a training took."""
        self.clock.note(key, seconds)

    def note_costs(self, key: str, costs: Mapping[str, float]) -> None:
        """Note what the index of one cell cost."""
        note_costs(self.folder, key, costs)

    def enter(self, suite: Suite, seen: Observation, suited: Collection[str] = ()) -> None:
        """Enter what was seen of a cell, and what failed of it, as one of the run's observations.

        An entry that wants more columns than an encoder has does not apply to it; one that applies to no vectors of the run
        (``suited`` are the others) is a mistake, unless the suite's entries were written for other encoders than those that
        are evaluated.
        """
        applies = suited if "widths" not in suite.partial else seen.too_wide.keys()
        wide = [
            Observation(seen.cache_key, (name,), status="unavailable" if name in applies else "failed", reason=reason)
            for name, reason in seen.too_wide.items()
        ]
        for one in (*([seen.bare] if seen.entries else []), *wide):
            self.seen.append(one)
            if one.status == "failed":
                m = one.cache_key
                where = f"{suite.path}: entry '{m['entry']}'"
                self.failures.append(f"{where} failed for {m['encoder']}, {m['pooling']}: {one.reason}")

    def enter_missing(self, task: TaskData, encoder: str, pooling: str, status: str, reason: str) -> None:
        """Enter that a task has no numbers of an encoder under a pooling: one row, not one an entry."""
        about = {"task": task.name, "encoder": encoder, "pooling": pooling, "entry": "raw", "fit_on": "none"}
        self.seen.append(Observation(about, ("raw",), status=status, reason=reason))

    def of_task(self, task: str) -> list[Observation]:
        """Return what was seen of a task."""
        return [one for one in self.seen if one.cache_key["task"] == task]
