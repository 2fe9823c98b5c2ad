"""Columns: the result of a reader of any format, and how messages name lines and columns."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Rows", "Wanted", "at_lines", "choice", "joined"]

_SHOWN = 5

Wanted = str | int | tuple[str | None, ...]
"""A column: its name, its position from 0, or several names, of which the first present counts; None for an empty column."""


@dataclass
class Rows:
    """Columns of a file with the line number of each value; values are unchecked."""

    unit: str  # "line", "row" or "item"
    columns: tuple[list[Any], ...]  # in the order of the request
    numbers: list[int] = field(default_factory=list)
    malformed: dict[int, tuple[str, str]] = field(default_factory=dict)  # line -> (what is required, what it is)
    notes: list[str] = field(default_factory=list)  # decisions about how to read the file
    head: tuple[str, ...] = ()  # the fields of the first line of a text file

    def add(self, number: int, values: Sequence[Any]) -> None:
        """Append a row."""
        self.numbers.append(number)
        for column, value in zip(self.columns, values, strict=True):
            column.append(value)


def joined(parts: Sequence[Rows]) -> Rows:
    """Return the rows of several files in order; line numbers continue from file to file."""
    whole = parts[0]
    for part in parts[1:]:
        before = max([*whole.numbers[-1:], *whole.malformed], default=0)
        for column, more in zip(whole.columns, part.columns, strict=True):
            column += more
        whole.numbers += [before + n for n in part.numbers]
        whole.malformed |= {before + n: fault for n, fault in part.malformed.items()}
        whole.notes += part.notes
    return whole


def at_lines(unit: str, numbers: Sequence[int]) -> str:
    """Return ``line 3``, ``lines 3 and 9`` or ``lines 1, 2, 3, 4, 5 and 40 more``."""
    shown = [str(n) for n in numbers[:_SHOWN]]
    rest = [f"{len(numbers) - _SHOWN} more"] if len(numbers) > _SHOWN else shown[-1:] if len(shown) > 1 else []
    head = shown if len(numbers) > _SHOWN or len(shown) == 1 else shown[:-1]
    return f"{unit}{'s' if len(numbers) > 1 else ''} {' and '.join([', '.join(head), *rest])}"


def choice(wanted: Wanted, names: Container[str]) -> str | None:
    """Return the name of a column in this file: the first of its names that is present, else the first."""
    if not isinstance(wanted, tuple):
        return str(wanted)
    found = [name for name in wanted if name is not None and name in names]
    return found[0] if found else None if None in wanted else wanted[0]
