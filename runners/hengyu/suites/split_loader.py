"""Reads each split that a plan needs once, and numbers its texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from hengyu.base.errors import HengyuError, Missing, gather
from hengyu.cards import parse_task
from hengyu.cards.card import Card, CollectionCard
from hengyu.cards.collection import Collection, load_collection
from hengyu.cards.data import Pairs, load_pairs
from hengyu.cards.sampling import sample_pairs
from hengyu.storage.identity import text_digest
from hengyu.suites.mixture import OWN, Part, own_parts, rows_of
from hengyu.suites.plan import DISTINCT, FitData, Ids, TextIndex, counted
from hengyu.tasks.interface.data import SearchData, TaskData

__all__ = ["SplitLoader"]

_USUAL = ("train", "valid", "test")  # splits that a suite may ask for of any card


class SplitLoader:
    """Reads each split once.

    Args:
        cards: the cards by name.
        data_dir: the folder of the user's files.
        sample: task -> how many of its pairs are evaluated; a task that is not named is evaluated whole.
        seed: what the samples are drawn by.
    """

    def __init__(
        self, cards: Mapping[str, Card], data_dir: Path | None, sample: Mapping[str, int] | None = None, seed: int = 0
    ) -> None:
        self.cards = cards
        self.data_dir = data_dir
        self.sample = sample or {}
        self.seed = seed
        self.texts = TextIndex()
        self._pairs: dict[tuple[str, str], Pairs] = {}
        self._done: dict[tuple[str, str], TaskData] = {}
        self._sampled: dict[tuple[str, int], TaskData] = {}
        self._shared: dict[tuple[str, str, float], TaskData] = {}
        self._rows: dict[tuple[tuple[tuple[str, int], ...], bool], tuple[Ids, Ids, str]] = {}

    @property
    def loaded(self) -> list[Pairs]:
        """The splits that were read, in that order."""
        return list(self._pairs.values())

    def pairs(self, card: Card, split: str) -> Pairs:
        """Return the pairs of a split; their texts are the plan's only once they are a `task`."""
        key = (card.name, split)
        if key not in self._pairs:
            self._pairs[key] = (
                load_collection(card, split, self.data_dir)
                if isinstance(card, CollectionCard)
                else load_pairs(card, split, self.data_dir)
            )
        return self._pairs[key]

    def task(self, card: Card, split: str) -> TaskData:
        """Return a split with its texts numbered."""
        key = (card.name, split)
        if key in self._done:
            return self._done[key]
        found = self.pairs(card, split)
        if isinstance(found, Collection):
            corpus, queries = self.texts.number(found.documents), self.texts.number(found.queries)
            numbers = (queries[found.asked], corpus[found.answers])
            self._done[key] = SearchData(found, *numbers, found, corpus, queries)
        else:
            self._done[key] = TaskData(found, self.texts.number(found.first), self.texts.number(found.second))
        return self._done[key]

    def _numbered(self, card: Card, split: str, share: float) -> TaskData:
        """Return a split of whose pairs a share is learned from; the others have the number -1, and are not encoded."""
        found = self.pairs(card, split)
        if (card.name, split) in self._done or share >= 1 or isinstance(found, Collection):
            return self.task(card, split)
        key = (card.name, split, share)
        if key not in self._shared:
            n = len(found.labels)
            at = rows_of(n, share)
            halves = np.full((2, n), -1, np.int64)
            for half, texts in zip(halves, (found.first, found.second), strict=True):
                half[at] = self.texts.number([texts[int(i)] for i in at])
            self._shared[key] = TaskData(found, *halves)
        return self._shared[key]

    def evaluated(self, card: Card, split: str) -> TaskData:
        """Return a split as it is evaluated: as much of it as is asked for, with its texts numbered."""
        return self._part_of(card, split, self.sample.get(f"{card.name}:{split}"))

    def threshold_split(self, task: TaskData) -> TaskData:
        """Return the valid split of a task, which its threshold is chosen on; of a sample, as many of its pairs."""
        return self._part_of(task.pairs.card, "valid", task.n if task.of else None)

    def _part_of(self, card: Card, split: str, n: int | None) -> TaskData:
        whole = self.pairs(card, split)
        part = whole if n is None else sample_pairs(whole, n, self.seed)
        if part is whole:
            return self.task(card, split)
        key = (whole.task, len(part.labels))
        if key not in self._sampled:
            self._sampled[key] = TaskData(part, self.texts.number(part.first), self.texts.number(part.second))
        return self._sampled[key]

    def valid(self, task: TaskData) -> Pairs | None:
        """Return the valid split of a task that is another one, where the card has one and it is at hand."""
        card = task.pairs.card
        if task.pairs.split == "valid" or "valid" not in card.splits:
            return None
        try:
            return self.pairs(card, "valid")
        except HengyuError:
            return None

    def fit(self, task: TaskData, word: str, *, labelled: bool = False) -> FitData:
        """Return the sentences that ``fit_on = word`` stands for at a task.

        Repeats count, as in the published scripts; a word that ends in ``-distinct`` counts every sentence once. With
        ``labelled`` the labels are learned from too, and `HengyuError` says when they are those of the task itself.
        """
        source = word.removesuffix(DISTINCT)
        shared = own_parts(source, task.pairs.card.name)
        if len(shared) > 1 or shared[0].share != 1 or source.endswith(OWN):
            return self._mixed(task, word, shared, labelled=labelled)
        parts = self._parts(task, source)
        if labelled:
            _refuse_own_labels(task, parts)
            gather(
                f"{p.name} has judgements and no labelled pairs; name another split to learn from"
                for p in parts
                if not p.paired
            )
        splits = tuple(p.name for p in parts)
        return FitData(word, splits, *self._sentences(parts, distinct=source != word), tuple(parts))

    def _mixed(self, task: TaskData, word: str, shared: Sequence[Part], *, labelled: bool) -> FitData:
        """Return the sentences of shares of several splits."""
        parts: list[TaskData] = []
        rows: list[Ids] = []
        for one in shared:
            found = self._parts(task, one.word, one.share)
            parts += found
            rows += [rows_of(p.n, one.share) for p in found]
        if labelled:
            _refuse_own_labels(task, parts)
        gather(
            f"{p.name} has judgements and no labelled pairs, of which there is a share" for p in parts if not p.paired
        )
        splits = tuple(p.name for p in parts)
        kept = [p.ids.reshape(2, -1)[:, at].ravel() for p, at in zip(parts, rows, strict=True)]
        return FitData(
            word, splits, *self._counted(kept, distinct=word.endswith(DISTINCT)), tuple(parts), rows=tuple(rows)
        )

    def _parts(self, task: TaskData, source: str, share: float = 1.0) -> list[TaskData]:
        """Return the splits that a word stands for at a task; of one with a share only the texts that it has are numbered."""
        card = task.pairs.card
        if source == "target":
            return [task]
        if source == "all":
            return list(self._at_hand(task))
        if ":" in source:
            return [self._numbered(*parse_task(self.cards, source), share)]
        if source in card.splits:
            return [self._numbered(card, source, share)]
        if source in _USUAL:
            problem = f"{card.name} has no split '{source}'; give it one, or use another fit_on ({', '.join(card.splits)}, target)"
            raise Missing(problem, problem)
        raise HengyuError(
            f"{card.name} has no split '{source}'; use target, all, a split ({', '.join(card.splits)}) or CARD:split"
        )

    def _at_hand(self, task: TaskData) -> Iterator[TaskData]:
        """Yield the splits of a task's card that can be read, the task's own among them."""
        card = task.pairs.card
        for split in card.splits:
            try:
                yield self.task(card, split)
            except HengyuError:
                if split == task.pairs.split:
                    raise

    def _sentences(self, parts: Sequence[TaskData], *, distinct: bool) -> tuple[Ids, Ids, str]:
        """Return the texts of splits as they first appear there, whatever else the plan holds; their counts, the digest."""
        key = tuple((p.name, p.n) for p in parts), distinct  # a sample has fewer pairs than its split
        if key not in self._rows:
            self._rows[key] = self._counted([p.ids for p in parts], distinct=distinct)
        return self._rows[key]

    def _counted(self, every: Sequence[Ids], *, distinct: bool) -> tuple[Ids, Ids, str]:
        """Return the distinct texts among several arrays as they first appear, their counts, the digest."""
        ids, counts = counted(np.concatenate(every))
        counts = np.ones_like(counts) if distinct else counts
        return ids, counts, text_digest((self.texts.texts[i] for i in ids), counts)


def _refuse_own_labels(task: TaskData, parts: Sequence[TaskData]) -> None:
    """Refuse labels that a method would be trained and evaluated on: of the same split, or of a copy of it."""
    for part in parts:
        if part.name == task.name or part.pairs.digest == task.pairs.digest:
            raise HengyuError(
                f"it learns from labels, and would be evaluated on {task.name} with labels it was trained on; "
                'write fit_on = "train", "valid" or another split than the one it is evaluated on'
            )
