"""A table of text beside the leaderboard: provenance, or the data of a chart."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Sheet"]


@dataclass(frozen=True)
class Sheet:
    """One table of the provenance: a title, what it tells, headings, and rows of text."""

    title: str
    about: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()  # columns that are set to the right
    keyed: bool = False  # whether the first column holds fixed words, which can be translated
