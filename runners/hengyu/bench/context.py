"""What units of work need: encoders, their store and texts; for those of a run its plan and what it keeps as well.

A context is frozen. What it opens on the way (spaces of the store) follows from what it holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hengyu.base.progress import Progress, silent
from hengyu.bench.encode import TOKENS, Vectors, open_spaces
from hengyu.bench.observations import ObservationStore
from hengyu.bench.prepared_encoder import PreparedEncoder
from hengyu.methods.training.cache import TunedEncoderCache
from hengyu.storage.fits import FitStore
from hengyu.storage.vectors import VectorSpace, VectorStore, text_keys
from hengyu.suites.plan import Plan

__all__ = ["EncodeContext", "RunContext"]

Ids = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodeContext:
    """What units that encode need, in the process that does them.

    Attributes:
        encoders: units name them by their numbers.
        texts: those that units name by their numbers; () where texts travel with their units.
        sides: side -> the numbers of its texts, where queries are encoded otherwise than documents.
        memory: bytes that another process may hold that does units.
        spare: bytes that such processes of this machine may hold together; None for most of what is free.
    """

    encoders: tuple[PreparedEncoder, ...]
    store: VectorStore
    texts: Sequence[str] = ()
    sides: Mapping[str, Ids] = field(default_factory=dict)
    progress: Progress = silent
    offline: bool = False
    memory: int = 0
    spare: int | None = None
    _spaces: dict[tuple[int, str], dict[str, VectorSpace]] = field(default_factory=dict, init=False, repr=False)
    _vectors: dict[int, Vectors] = field(default_factory=dict, init=False, repr=False)

    def numbers(self, side: str) -> Ids | None:
        """Return the numbers of the texts of a side, None for all texts."""
        return self.sides[side] if side else None

    def select(self, ids: Ids | None) -> Sequence[str]:
        """Return the texts of numbers (n,), all for None."""
        return self.texts if ids is None else [self.texts[int(i)] for i in ids]

    @cached_property
    def keys(self) -> NDArray[np.uint8]:
        """The keys (m, 16) of the texts in the store."""
        return text_keys(self.texts)

    def spaces(self, number: int, poolings: Sequence[str], side: str = "") -> dict[str, VectorSpace]:
        """Return the spaces of an encoder's poolings and token counts, of one of its sides, with all that is stored by now.

        A segment is checked once.
        """
        of, at = self.encoders[number], (number, side)
        wanted = (*poolings, TOKENS)
        if at in self._spaces:
            for name in wanted:
                self._spaces[at][name].refresh()
        else:
            self._spaces[at] = open_spaces(self.store, of.encodes(side), of.poolings)
        return {name: self._spaces[at][name] for name in wanted}

    def vectors(self, number: int) -> Vectors:
        """Return the vectors that an encoder has given for the texts, as they lie in the store."""
        if number not in self._vectors:
            of = self.encoders[number]
            sides = [Vectors(self.spaces(number, of.poolings, side), self.keys, 0) for side in of.sides]
            self._vectors[number] = sides[0] if len(sides) == 1 else replace(sides[0], asking=sides[1])
        return self._vectors[number]


@dataclass(frozen=True, kw_only=True, eq=False)
class RunContext(EncodeContext):
    """What the units of a run need, in the process that does them.

    Attributes:
        fits: where trained methods are kept; None trains them where they are needed.
        tuning: what recalls and keeps tuned encoders.
        observations: those of the run, on disk.
        is_worker: whether another process runs the suite, and units are done here for it.
    """

    plan: Plan
    fits: FitStore | None
    tuning: TunedEncoderCache
    observations: ObservationStore
    is_worker: bool = False
