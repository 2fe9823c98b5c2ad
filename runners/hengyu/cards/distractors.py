"""Distractors: texts that are searched beside a task's documents and are relevant to no query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hengyu.base.errors import HengyuError
from hengyu.base.text_lines import blocks
from hengyu.storage.identity import text_digest

__all__ = ["Distractors", "read_distractors"]

_BLOCK = 65536  # lines read at a time


@dataclass(frozen=True, eq=False)
class Distractors:
    """The lines of one or several text files.

    Attributes:
        files: the names of the files, in the order in which they were read.
        texts: the lines, each once, in the order of their first appearance.
        blank: how many lines were blank.
        repeated: how many lines had appeared before.
    """

    files: tuple[str, ...]
    texts: tuple[str, ...]
    blank: int
    repeated: int

    @property
    def digest(self) -> str:
        """The sha256 of the lines, in order."""
        return text_digest(self.texts)


def read_distractors(paths: Sequence[Path]) -> Distractors:
    """Read files of one document a line, plain or compressed with gzip or xz; raises `HengyuError`.

    White space at the ends of a line counts: only lines that are equal character by character are repeated.
    """
    texts: dict[str, None] = {}
    lines = blank = 0
    for path in paths:
        before = lines
        for block in blocks(path, _BLOCK):
            texts.update(dict.fromkeys(block.texts))
            lines, blank = lines + len(block.texts), blank + block.blank
        if lines == before:
            raise HengyuError(f"{path}: has no line with a text in it; distractors are one document a line")
    return Distractors(tuple(path.name for path in paths), tuple(texts), blank, lines - len(texts))
