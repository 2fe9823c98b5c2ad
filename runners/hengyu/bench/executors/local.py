"""The default: one unit after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from hengyu.bench.units import WorkerContext, WorkUnit

__all__ = ["Local"]

T = TypeVar("T")


class Local:
    """Does the units here, in their order."""

    workers = 1
    away = False

    def run(self, units: Sequence[WorkUnit[T]], site: WorkerContext) -> Iterator[tuple[int, T]]:
        """Do all units; yields the number and the result of each."""
        for number, unit in enumerate(units):
            yield number, unit(site)
