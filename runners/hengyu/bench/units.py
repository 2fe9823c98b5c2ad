"""Work that can be done anywhere: units, and the protocol of what schedules them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from hengyu.bench.context import EncodeContext
from hengyu.bench.notes import UnitLog

__all__ = ["Executor", "WorkUnit"]

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

    def __call__(self, context: Needed, log: UnitLog) -> Result:
        """Do it."""


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
