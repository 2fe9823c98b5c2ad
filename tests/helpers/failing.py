"""A unit of work that fails, where another process can import it."""

from __future__ import annotations

from dataclasses import dataclass

from hengyu.bench.context import EncodeContext
from hengyu.bench.notes import UnitLog
from hengyu.bench.units import OrdinaryUnit


@dataclass(frozen=True)
class Failing(OrdinaryUnit):
    """A unit that raises."""

    error: Exception
    weight: int = 1
    trains: bool = False
    long: bool = True
    timed: bool = False
    sole: bool = False

    def __call__(self, context: EncodeContext, log: UnitLog) -> None:
        raise self.error
