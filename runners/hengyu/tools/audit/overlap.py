"""Finds the sentences of tasks in collections of texts: the same string, the same letters, or nearly the same.

Near duplicates are found by prefix filtering, which misses none, unlike buckets of hashes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hengyu.base.bounded import sha256_of, user_path
from hengyu.base.errors import HengyuError
from hengyu.base.progress import Progress, silent
from hengyu.base.text_lines import blocks
from hengyu.cards import Card, parse_task
from hengyu.cards.data import Pairs, load_pairs
from hengyu.tools.distillation.contamination import NearDuplicates
from hengyu.tools.pretraining.corpus import substance

__all__ = ["SEEN", "SENSES", "Collection", "FileLines", "Overlap", "SplitLines", "find_overlap", "open_collections"]

Mask = NDArray[np.bool_]
SENSES = ("exact", "normalised", "near")
"""The same string; the same letters and digits without width, case and punctuation; a Jaccard index of the sets of character
pairs of 0.8 or more. The strictest one counts."""

SEEN = ("any", "both", "together")
"""A pair counts as seen if any of its sentences was, if both were, or if both stood in one pair of a training split."""

_BLOCK = 8192
_EVERY = 4096  # texts between two ticks


class Collection:
    """Texts that a model may have seen, in units of one line, or of two sentences of a pair."""

    name = ""
    paired = False

    def units(self) -> Iterator[tuple[str, ...]]:
        """Yield the texts of each unit."""
        raise NotImplementedError

    def digest(self) -> str:
        """Return the sha256 of its content."""
        raise NotImplementedError


@dataclass(frozen=True)
class FileLines(Collection):
    """A text file with one text per line, possibly compressed."""

    path: Path

    @property
    def name(self) -> str:  # type: ignore[override]
        """The file's name."""
        return self.path.name

    def units(self) -> Iterator[tuple[str, ...]]:
        """Yield each line that is not blank."""
        for block in blocks(self.path, _BLOCK):
            for text in block.texts:
                yield (text,)

    def digest(self) -> str:
        """Return the sha256 of the file."""
        return sha256_of(self.path)


@dataclass(frozen=True)
class SplitLines(Collection):
    """A split of a card of pairs."""

    pairs: Pairs
    paired = True

    @property
    def name(self) -> str:  # type: ignore[override]
        """The split as a task."""
        return self.pairs.task

    def units(self) -> Iterator[tuple[str, ...]]:
        """Yield the two sentences of each pair."""
        yield from zip(self.pairs.first, self.pairs.second, strict=True)

    def digest(self) -> str:
        """Return the digest of its texts and labels."""
        return self.pairs.digest


@dataclass(frozen=True, eq=False)
class Overlap:
    """What collections hold of one task.

    Attributes:
        task: the task.
        sentences: the number of its distinct sentences.
        found: sense of `SENSES` -> the number of distinct sentences found in that sense, the strictest counting.
        masks: word of `SEEN` -> which pairs (n,) count as seen; "together" only if a collection has pairs.
        examples: for some sentences found: the number of a pair from 0, its side (1 or 2), the sense, the collection, and
            the number of the line or pair there from 1.
    """

    task: str
    sentences: int
    found: dict[str, int]
    masks: dict[str, Mask]
    examples: tuple[tuple[int, int, str, str, int], ...]

    @property
    def n(self) -> int:
        """The number of pairs."""
        return len(self.masks["any"])


def open_collections(words: Sequence[str], cards: dict[str, Card], data: Path | None) -> list[Collection]:
    """Return the collections that words name: files of lines, or splits like ``LCQMC:train``; raises `HengyuError`."""
    found: list[Collection] = []
    for word in words:
        path = user_path(word)
        if path.is_file():
            found.append(FileLines(path))
        elif ":" in word:
            found.append(SplitLines(load_pairs(*parse_task(cards, word), data)))
        else:
            raise HengyuError(
                f"'{word}': no such file; give a text file with one text per line, or a split like LCQMC:train"
            )
    return found


def find_overlap(
    tasks: Sequence[Pairs], collections: Iterable[Collection], progress: Progress = silent
) -> list[Overlap]:
    """Return what collections hold of the sentences of tasks.

    Memory holds the tasks' sentences; collections are read as streams.
    """
    search = _Search(tasks)
    for collection in collections:
        search.read(collection, progress)
    return [search.of(number) for number in range(len(tasks))]


class _Search:
    """The sentences of tasks, by string and by letters, and what was found of them."""

    def __init__(self, tasks: Sequence[Pairs]) -> None:
        self.tasks = tasks
        texts = dict.fromkeys(t for pairs in tasks for side in (pairs.first, pairs.second) for t in side)
        self.number = {text: i for i, text in enumerate(texts)}
        self.alike: dict[str, list[int]] = defaultdict(list)
        for text, i in self.number.items():
            if letters := substance(text):
                self.alike[letters].append(i)
        self.near = NearDuplicates(self.alike)
        self.sense: dict[int, tuple[int, str, int]] = {}  # text -> the rank of its sense, and where
        self.pairs_of: dict[int, list[tuple[int, int, int]]] = defaultdict(list)  # text -> task, pair, the other text
        for t, pairs in enumerate(tasks):
            for p, (a, b) in enumerate(zip(pairs.first, pairs.second, strict=True)):
                one, two = self.number[a], self.number[b]
                self.pairs_of[one].append((t, p, two))
                self.pairs_of[two].append((t, p, one))
        self.together = [np.zeros(len(pairs.labels), np.bool_) for pairs in tasks]
        self.paired = False

    def read(self, collection: Collection, progress: Progress) -> None:
        """Look for every text of a collection."""
        with progress.stage(f"audit {collection.name}", 0) as tick:
            for place, unit in enumerate(collection.units(), 1):
                met = [self._meet(text, collection.name, place) for text in unit]
                if collection.paired:
                    self.paired = True
                    self._note_together(*met)
                if place % _EVERY == 0:
                    tick(place)

    def _meet(self, text: str, name: str, place: int) -> set[int]:
        """Return the sentences that a text is, or is nearly."""
        met: set[int] = set()
        letters = substance(text)
        own = self.number.get(text)
        if own is not None:
            self._note(own, 0, name, place)
            met.add(own)
        for i in self.alike.get(letters, ()):
            self._note(i, 1, name, place)
            met.add(i)
        for other in self.near.alike(letters):
            for i in self.alike[other]:
                self._note(i, 2, name, place)
                met.add(i)
        return met

    def _note(self, text: int, rank: int, name: str, place: int) -> None:
        known = self.sense.get(text)
        if known is None or rank < known[0]:
            self.sense[text] = (rank, name, place)

    def _note_together(self, one: set[int], two: set[int]) -> None:
        for text in one if two else ():
            for task, pair, other in self.pairs_of[text]:
                if other in two:
                    self.together[task][pair] = True

    def of(self, task: int) -> Overlap:
        """Return what was found of a task."""
        pairs = self.tasks[task]
        sides = [np.array([self.number[t] for t in side], np.int64) for side in (pairs.first, pairs.second)]
        found = [np.array([int(i) in self.sense for i in side], np.bool_) for side in sides]
        distinct = set(sides[0].tolist()) | set(sides[1].tolist())
        counts = dict.fromkeys(SENSES, 0)
        for i in distinct:
            if i in self.sense:
                counts[SENSES[self.sense[i][0]]] += 1
        masks = {"any": found[0] | found[1], "both": found[0] & found[1]}
        if self.paired:
            masks["together"] = self.together[task]
        examples = []
        for p in np.flatnonzero(masks["any"]).tolist():
            for side in (0, 1):
                if found[side][p]:
                    rank, name, place = self.sense[int(sides[side][p])]
                    examples.append((p, side + 1, SENSES[rank], name, place))
        return Overlap(pairs.task, len(distinct), counts, masks, tuple(examples))
