"""The tokens of many texts in flat arrays: 4 bytes a token, where lists of numbers and what a tokenizer gives take hundreds."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["TokenRows"]


class TokenRows(Sequence[list[int]]):
    """The token ids of n texts; a row is a list when it is asked for."""

    def __init__(self, rows: Iterable[Sequence[int]] = ()) -> None:
        self._ids = array("i")
        self._ends = array("q", [0])
        for row in rows:
            self.append(row)

    def append(self, row: Sequence[int]) -> None:
        """Add the ids of one more text."""
        self._ids.extend(row)
        self._ends.append(len(self._ids))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TokenRows):
            return self._ends == other._ends and self._ids == other._ids
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, at: int) -> list[int]: ...
    @overload
    def __getitem__(self, at: slice) -> list[list[int]]: ...
    def __getitem__(self, at: int | slice) -> list[int] | list[list[int]]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        return self._ids[slice(*self._bounds(at))].tolist()

    def _bounds(self, at: int) -> tuple[int, int]:
        at %= len(self)
        return self._ends[at], self._ends[at + 1]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many tokens each text has (n,)."""
        ends = np.frombuffer(self._ends, np.int64)
        return ends[1:] - ends[:-1]

    def groups(self, among: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
        """Return which of some texts (m,) are the first with their tokens, in order, and for each those that have the same."""
        known: dict[bytes, int] = {}
        of = np.empty(len(among), np.int64)
        for i, at in enumerate(among):
            of[i] = known.setdefault(self._ids[slice(*self._bounds(int(at)))].tobytes(), len(known))
        order = np.argsort(of, kind="stable")
        members = np.split(among[order], np.flatnonzero(np.diff(of[order])) + 1) if len(among) else []
        return np.array([m[0] for m in members], np.int64), members
