"""A generated sentence: a fixed template, which is translated, and its parts, which are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Sentence"]


@dataclass(frozen=True)
class Sentence:
    """A sentence of a report.

    Attributes:
        template: English, with a ``{name}`` for each part; reports/templates/words.json has it in Chinese.
        parts: names and numbers by their name in the template.
    """

    template: str
    parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The sentence in English."""
        return self.template.format_map(self.parts)
