"""The default: one unit after the other, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from hengyu.bench.context import EncodeContext
from hengyu.bench.notes import UnitLog
from hengyu.bench.units import WorkUnit

__all__ = ["Local"]

T = TypeVar("T")
C = TypeVar("C", bound=EncodeContext)


class Local:
    """Does the units here, in their order."""

    workers = 1
    remote = False

    def run(self, units: Sequence[WorkUnit[C, T]], context: C, log: UnitLog) -> Iterator[tuple[int, T]]:
        """Do all units; yields the number and the result of each."""
        for number, unit in enumerate(units):
            yield number, unit(context, log)
