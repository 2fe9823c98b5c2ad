"""A text table of a page: provenance, or the data of a chart."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Sheet"]


@dataclass(frozen=True)
class Sheet:
    """A table: title, description, headings, and rows of text."""

    title: str
    about: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()  # right-aligned columns
    keyed: bool = False  # whether the first column has fixed words, which can be translated
