"""The corpus of a pretraining: reads, counts, excludes evaluation sentences, shuffles and splits lines."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hengyu.base.bounded import sha256_of
from hengyu.base.errors import HengyuError
from hengyu.base.text_lines import blocks
from hengyu.cards import load_cards, parse_task
from hengyu.cards.data import load_pairs

__all__ = ["Corpus", "Source", "evaluation_sentences", "read_corpus", "substance"]

_BLOCK = 65536  # lines
_FEWEST = 32  # lines to train on


@dataclass(frozen=True)
class Source:
    """One file of a corpus."""

    name: str
    sha256: str  # of the file on disk
    lines: int  # without blank lines
    excluded: int  # of them excluded as equal to an evaluation sentence


@dataclass(frozen=True)
class Corpus:
    """Lines in an order drawn by the seed; ``held`` are not trained on."""

    sources: tuple[Source, ...]
    lines: list[str]
    held: list[str]
    against: dict[str, str]  # task -> sha256 of its file, for tasks whose sentences were excluded

    def about(self) -> dict[str, Any]:
        """Return a description of the corpus as JSON."""
        return {"files": [asdict(s) for s in self.sources], "excluded_tasks": dict(self.against)}

    @property
    def excluded(self) -> int:
        """The number of excluded lines."""
        return sum(s.excluded for s in self.sources)


def substance(text: str) -> str:
    """Return the part of a sentence that is compared for exclusion: letters and digits, without width and case."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def evaluation_sentences(
    tasks: Sequence[str], data: Path | None = None, datasets: Sequence[Path] = ()
) -> tuple[set[str], dict[str, str]]:
    """Return the compared part of every sentence of tasks, and the sha256 of each task's file.

    Raises `HengyuError` for a task that is unknown or not available.
    """
    found: set[str] = set()
    against: dict[str, str] = {}
    cards = load_cards(datasets)
    for word in tasks:
        pairs = load_pairs(*parse_task(cards, word), data)
        found.update(substance(t) for column in (pairs.first, pairs.second) for t in column)
        against[pairs.task] = pairs.sha256
    found.discard("")
    return found, against


def read_corpus(
    files: Sequence[Path],
    *,
    held_out: int,
    seed: int,
    unwanted: set[str] | None = None,
    against: dict[str, str] | None = None,
) -> Corpus:
    """Read text files (.gz and .xz too), one sentence per line, into memory; raises `HengyuError` that names file and line."""
    sources: list[Source] = []
    lines: list[str] = []
    for path in files:
        count = excluded = 0
        for block in blocks(path, _BLOCK):
            for raw in block.texts:
                text = raw.strip()
                count += 1
                if unwanted and substance(text) in unwanted:
                    excluded += 1
                else:
                    lines.append(text)
        source = Source(path.name, _sha256(path), count, excluded)
        same = next((s for s in sources if s.sha256 == source.sha256), None)
        if same is not None:
            raise HengyuError(f"{path}: is the same file as {same.name}; give only one of them")
        sources.append(source)
    order = np.random.default_rng([seed, 0]).permutation(len(lines))
    kept = min(held_out, len(lines) // 10)
    if len(lines) - kept < _FEWEST:
        names = ", ".join(map(str, files))
        raise HengyuError(
            f"{names}: {len(lines)} training lines, but at least {_FEWEST} are needed; give a corpus with one "
            "sentence per line"
        )
    shuffled = [lines[i] for i in order]
    return Corpus(tuple(sources), shuffled[kept:], shuffled[:kept], dict(against or {}))


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as e:
        raise HengyuError(f"{path}: cannot be read ({e.strerror or e}); check the path and its permissions") from None
