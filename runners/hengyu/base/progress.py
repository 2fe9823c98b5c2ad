"""Progress of long work: a bar on a terminal, a quiet line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console

from hengyu.base.escapes import plain

__all__ = ["Progress", "Tick", "silent"]

_QUIET_SECONDS = 15.0
_TELLING = 50  # the remaining time is shown from 1 / 50 of the work on


class Tick(Protocol):
    """Reports how much of a stage is done."""

    def __call__(self, done: int) -> None:
        """Take the number of units done so far."""


class Progress:
    """Shows stages on stderr; shows nothing if the console is None."""

    def __init__(self, console: Console | None) -> None:
        self.console = console

    def say(self, line: str) -> None:
        """Print one line."""
        if self.console:
            self.console.print(plain(line), highlight=False, markup=False, emoji=False, soft_wrap=True)

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Tick]:
        """Open a stage of ``total`` units; yields the function that reports how many are done."""
        if not self.console:
            yield lambda done: None
        elif self.console.is_terminal:
            with self._bar(title, total) as tick:
                yield tick
        else:
            yield self._lines(title, total)

    @contextmanager
    def _bar(self, title: str, total: int) -> Iterator[Tick]:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        with Bar(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console, transient=True) as bar:
            task = bar.add_task(plain(title), total=total)
            begun = False

            def tick(done: int) -> None:
                nonlocal begun
                if begun:
                    bar.update(task, completed=done)
                else:  # what was done before the stage says nothing about its pace
                    bar.reset(task, total=total, completed=done)
                    begun = True

            yield tick

    def _lines(self, title: str, total: int) -> Tick:
        last = time.monotonic()
        first: tuple[float, int] | None = None

        def tick(done: int) -> None:
            nonlocal last, first
            now = time.monotonic()
            # what was done before the stage says nothing about its pace, nor do the seconds of loading
            start, before = first = first or (now, done)
            if now - last >= _QUIET_SECONDS and done < total:
                last = now
                new = done - before
                known = new > 0 and _TELLING * new >= total - before
                left = f", about {(now - start) / new * (total - done):.0f} s left" if known else ""
                self.say(f"{title}: {done} of {total}{left}")

        return tick


silent = Progress(None)
