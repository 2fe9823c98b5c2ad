"""Work that can be done anywhere: units, what they share in one process, and the protocol of what schedules them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from hengyu.bench.encode import Vectors, open_spaces
from hengyu.bench.encoder_jobs import PreparedEncoder
from hengyu.bench.run_log import RunLog
from hengyu.methods.training.cache import TunedEncoderCache
from hengyu.storage.vectors import VectorSpace, VectorStore, text_keys
from hengyu.suites.plan import Plan

__all__ = ["Executor", "WorkerContext", "WorkUnit"]

T = TypeVar("T")
Result = TypeVar("Result", covariant=True)


@dataclass
class WorkerContext:
    """What all units need, opened in the process that does them.

    Attributes:
        jobs: the encoders, in the suite's order.
        ledger: where what is seen is kept.
        memory: bytes that a process doing its units may hold; 0 where they follow from the plan.
    """

    plan: Plan
    jobs: list[PreparedEncoder]
    store: VectorStore
    tuning: TunedEncoderCache
    ledger: RunLog
    offline: bool = False
    memory: int = 0
    _spaces: dict[tuple[int, str], dict[str, VectorSpace]] = field(default_factory=dict)

    def spaces(self, number: int, side: str = "") -> dict[str, VectorSpace]:
        """Return the spaces of the encoder of a number, of one of its sides, with all that the store holds by now.

        A segment is checked once.
        """
        job, key = self.jobs[number], (number, side)
        if key in self._spaces:
            for space in self._spaces[key].values():
                space.refresh()
        else:
            self._spaces[key] = open_spaces(self.store, job.encodes(side), job.poolings)
        return self._spaces[key]

    def vectors(self, number: int) -> Vectors:
        """Return the vectors that the encoder of a number has given."""
        job = self.jobs[number]
        if job.vectors is None:
            keys = text_keys(self.plan.texts)
            asking = Vectors(self.spaces(number, "query"), keys, 0) if job.asking else None
            job.vectors = Vectors(self.spaces(number, job.sides[0]), keys, 0, asking=asking)
        return job.vectors


class WorkUnit(Protocol[Result]):
    """A part of a run. What it leaves in store and folder, and returns, does not depend on where and when it is done.

    It may be done twice, when the process that did it died: the second time it goes on from what the first one left.
    """

    @property
    def weight(self) -> int:
        """How much work it is, in units of its own: the heaviest are done first."""

    @property
    def trains(self) -> bool:
        """Whether a model runs in it, which wants a GPU where there is one."""

    def __call__(self, site: WorkerContext) -> Result:
        """Do it."""


class Executor(Protocol):
    """Schedules units; what they are and do is the same under every one."""

    @property
    def workers(self) -> int:
        """How many units are done at once."""

    @property
    def away(self) -> bool:
        """Whether units are done in other processes than this one."""

    def run(self, units: Sequence[WorkUnit[T]], site: WorkerContext) -> Iterator[tuple[int, T]]:
        """Do all units; yields the number and the result of each as it is finished, in any order."""
