"""Work that can be done anywhere: units, and the protocol of what schedules them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from hengyu.bench.context import EncodeContext
from hengyu.bench.notes import UnitLog

__all__ = ["Executor", "OrdinaryUnit", "WorkUnit", "heaviest_first", "next_free"]

T = TypeVar("T")
C = TypeVar("C", bound=EncodeContext)
Needed = TypeVar("Needed", contravariant=True)
Result = TypeVar("Result", covariant=True)


class WorkUnit(Protocol[Needed, Result]):
    """A part of a run. What it leaves in store and folder, and returns, does not depend on where and when it is done.

    It may be done twice, when the process that did it died: the second time it goes on from what the first one left.
    """

    @property
    def weight(self) -> int:
        """How much work it is, in units of its own: the heaviest are done first."""

    @property
    def trains(self) -> bool:
        """Whether a model runs in it, which wants a GPU where there is one."""

    @property
    def long(self) -> bool:
        """Whether it takes longer than it takes a process to start, as far as that is known: it trains, or encodes much."""

    @property
    def timed(self) -> bool:
        """Whether it measures how fast something is, so that nothing may run beside it on this machine."""

    @property
    def sole(self) -> bool:
        """Whether it is all there is of its part of the work, also of what was done before: nothing ever runs beside it."""

    @property
    def makes(self) -> frozenset[str]:
        """Names of what it computes and stores, unless it is stored: two units that make the same come after one another."""

    def __call__(self, context: Needed, log: UnitLog) -> Result:
        """Do it."""


class OrdinaryUnit:
    """What most units are: short, not timed, one of many, and without anything that is trained and stored."""

    long: bool = False
    timed: bool = False
    sole: bool = False
    makes: frozenset[str] = frozenset()


class Executor(Protocol):
    """Schedules units; what they are and do is the same under every one."""

    @property
    def workers(self) -> int:
        """How many units are done at once."""

    @property
    def remote(self) -> bool:
        """Whether units are done in other processes than this one."""

    def run(self, units: Sequence[WorkUnit[C, T]], context: C, log: UnitLog) -> Iterator[tuple[int, T]]:
        """Do all units; yields the number and the result of each as it is finished, in any order."""


def heaviest_first(units: Sequence[WorkUnit[C, T]]) -> list[int]:
    """Return the numbers of units in the order in which they are begun: what trains an encoder, what takes long, the heavier."""

    def weight(number: int) -> tuple[bool, bool, int]:
        unit = units[number]
        return unit.long and unit.trains, unit.long, unit.weight

    return sorted(range(len(units)), key=weight, reverse=True)


def next_free(
    units: Sequence[WorkUnit[C, T]], waiting: Sequence[int], working: Sequence[int], *, spread: bool = False
) -> int | None:
    """Return the number of the first waiting unit that makes nothing that one in work makes; None where all of them do.

    With ``spread``, units that time something are passed over.
    """
    made = frozenset[str]().union(*(units[i].makes for i in working))
    return next((i for i in waiting if not (units[i].makes & made) and not (spread and units[i].timed)), None)
