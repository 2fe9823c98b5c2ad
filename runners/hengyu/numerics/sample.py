"""The rows a method is fitted on, read on demand, so that a fit needs memory for one batch only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sample"]

Floats = NDArray[np.floating[Any]]
Ids = NDArray[np.int64]

_BLOCK = 4096


@dataclass(frozen=True)
class Sample:
    """Distinct rows; row i occurs ``counts[i]`` times.

    Attributes:
        read: maps row numbers (k,) to rows (k, d).
        counts: (m,), at least 1 each.
        through: fitted methods that the rows pass, in order.
    """

    read: Callable[[Ids], Floats]
    counts: Ids
    through: tuple[Callable[[Floats], Floats], ...] = ()

    @classmethod
    def of(cls, x: Floats, counts: NDArray[np.integer[Any]] | None = None) -> Self:
        """Return a sample of rows x (m, d) in memory, each counted once or ``counts`` (m,) times."""
        times = np.ones(len(x), np.int64) if counts is None else np.asarray(counts, np.int64)
        return cls(lambda ids: x[ids], times)

    def __len__(self) -> int:
        """Return the number of distinct rows."""
        return len(self.counts)

    @property
    def width(self) -> int:
        """The number of columns d of the rows; 0 if there are none."""
        return int(self.rows(np.zeros(1, np.int64)).shape[1]) if len(self) else 0

    def rows(self, ids: Ids) -> Floats:
        """Return rows (k, d) by their numbers (k,)."""
        x = self.read(ids)
        for method in self.through:
            x = method(x)
        return x

    def part(self, start: int, stop: int) -> Self:
        """Return rows start, ..., stop - 1 as a sample."""
        return replace(self, read=lambda ids: self.read(ids + start), counts=self.counts[start:stop])

    def then(self, method: Callable[[Floats], Floats]) -> Self:
        """Return the same rows, mapped by a fitted method."""
        return replace(self, through=(*self.through, method))

    def blocks(self, size: int = _BLOCK) -> Iterator[tuple[Floats, Ids]]:
        """Yield all rows (k, d) and how often each occurs (k,), at most ``size`` distinct rows at a time."""
        for start in range(0, len(self), size):
            ids = np.arange(start, min(start + size, len(self)))
            yield self.rows(ids), self.counts[ids]
