"""The plan of a run: tasks loaded, distinct sentences numbered, what each method is fitted on resolved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError, Missing, gather
from hengyu.cards import load_cards, parse_task
from hengyu.cards.card import Card, CollectionCard, TripleCard
from hengyu.cards.collection import Collection, load_collection
from hengyu.cards.data import Pairs, load_pairs
from hengyu.cards.relevance import Relevance
from hengyu.numerics.cloud_sample import CloudSample
from hengyu.storage.identity import array_digest, digest, text_digest
from hengyu.suites.entries import SuiteEntry
from hengyu.suites.suite import Suite

__all__ = ["FitData", "TextIndex", "Plan", "SearchData", "TaskData", "make_plan"]

Ids = NDArray[np.int64]
_DISTINCT = "-distinct"
_USUAL = ("train", "valid", "test")  # splits that a suite may ask for of any card


@dataclass(frozen=True)
class TaskData:
    """Pairs as numbers into the plan's distinct texts."""

    pairs: Pairs
    first: Ids  # (n,)
    second: Ids  # (n,)

    @property
    def name(self) -> str:
        """The task, like ``LCQMC:test``."""
        return self.pairs.task

    @property
    def n(self) -> int:
        """The number of pairs."""
        return len(self.first)

    @property
    def ids(self) -> Ids:
        """The texts of both columns, with their repeats (2 n,)."""
        return np.concatenate([self.first, self.second])


@dataclass(frozen=True)
class SearchData(TaskData):
    """A retrieval card's task: the judged pairs, and the texts that are searched and that ask, as numbers."""

    collection: Collection
    corpus: Ids  # (m,)
    queries: Ids  # (Q,)

    @property
    def ids(self) -> Ids:
        """The texts of documents and queries, with their repeats (m + Q,)."""
        return np.concatenate([self.corpus, self.queries])


@dataclass(frozen=True)
class FitData:
    """Sentences that a method is fitted on: which texts, in the order of their own files, and how often each occurs."""

    word: str  # as the suite says it: "target", "train", "all", "LCQMC:train"
    splits: tuple[str, ...]  # what that is: ("LCQMC:test",)
    ids: Ids
    counts: Ids
    digest: str  # of texts and counts
    parts: tuple[TaskData, ...] = ()  # the splits as pairs, for methods that learn from labels
    asks: NDArray[np.bool_] | None = None  # which of the texts are queries, where queries have vectors of their own

    @property
    def distinct(self) -> bool:
        """Whether repeats are left out."""
        return self.word.endswith(_DISTINCT)

    @cached_property
    def by_side(self) -> FitData:
        """The same for an encoder that encodes queries otherwise than documents: the documents, then the queries.

        A text that is both counts on each side as often as it occurs there. Sentences of pairs are documents.
        """
        parts = [p for p in self.parts if isinstance(p, SearchData)]
        if not parts:
            return self
        searched = np.concatenate([p.corpus if isinstance(p, SearchData) else p.ids for p in self.parts])
        sides = [_counted(ids) for ids in (searched, np.concatenate([p.queries for p in parts]))]
        ids, counts = (np.concatenate(both) for both in zip(*sides, strict=True))
        if self.distinct:
            counts = np.ones_like(counts)
        asks = np.arange(len(ids)) >= len(sides[0][0])
        order = np.argsort(self.ids)
        places = order[np.searchsorted(self.ids, ids, sorter=order)]
        key = digest({"rows": self.digest, "sides": array_digest(places, counts, asks)})
        return FitData(self.word, self.splits, ids, counts, key, self.parts, asks)


@dataclass
class Plan:
    """What a run does; made once, before anything is encoded."""

    suite: Suite
    data_dir: Path | None
    tasks: list[TaskData]
    thresholds: dict[str, TaskData]  # binary task -> the valid split its decision threshold is chosen on
    fits: dict[tuple[str, str], FitData]  # (task, fit_on word) -> sentences
    texts: list[str]  # distinct, in order of first appearance
    lacking: dict[tuple[str, str], str] = field(default_factory=dict)  # like fits, of a partial suite: what is not here
    held: dict[str, Pairs] = field(default_factory=dict)  # task -> the valid split that tuners are watched on
    warnings: list[str] = field(default_factory=list)
    datasets: tuple[Path, ...] = ()  # folders of cards beside the shipped ones
    left_out: list[str] = field(default_factory=list)  # what the suite runs without, and how to get it
    relevance: dict[str, Relevance] = field(default_factory=dict)  # task -> what a retrieval suite asks of it

    def select(self, ids: Ids) -> list[str]:
        """Return the texts of numbers (n,)."""
        return [self.texts[int(i)] for i in ids]

    def texts_of(self, side: str) -> Ids:
        """Return the numbers of the texts that a retrieval suite needs as queries or as documents, ascending."""
        fits = [fit.by_side for fit in self.fits.values()]
        asked = [r.queries for r in self.relevance.values()] + [f.ids[f.asks] for f in fits if f.asks is not None]
        searched = [r.corpus for r in self.relevance.values()]
        searched += [f.ids if f.asks is None else f.ids[~f.asks] for f in fits]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *(asked if side == "query" else searched)]))

    def fit_word(self, spec: SuiteEntry) -> str:
        """Return what an entry is fitted on, as the board says it."""
        word = spec.fit_on or self.suite.fit_on
        return word if spec.needs_fit else "none"

    def glimpse(self, seed: int | None) -> CloudSample | None:
        """Return what looks at the cloud of an entry's vectors; nothing does for the draws after the first."""
        return None if seed not in (None, self.suite.seed) else CloudSample(self.suite.seed)


def _counted(ids: Ids) -> tuple[Ids, Ids]:
    """Return the distinct numbers in the order of their first appearance, and how often each occurs."""
    distinct, at, counts = np.unique(ids, return_index=True, return_counts=True)
    order = np.argsort(at)
    return distinct[order], counts[order]


class TextIndex:
    """Distinct texts, numbered by first appearance."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._number: dict[str, int] = {}

    def number(self, texts: Sequence[str]) -> Ids:
        """Return the numbers (n,) of texts; those that are new get the next ones."""
        out = np.empty(len(texts), np.int64)
        for i, text in enumerate(texts):
            at = self._number.get(text)
            if at is None:
                at = self._number[text] = len(self.texts)
                self.texts.append(text)
            out[i] = at
        return out


def make_plan(suite: Suite, *, data_dir: Path | None = None, datasets: Sequence[Path] = ()) -> Plan:
    """Load everything a suite names; raises one `HengyuError` that holds every problem found."""
    cards = load_cards(datasets)
    loader = _Loader(cards, data_dir)
    problems: list[str] = []
    missing: list[tuple[str, Missing]] = []
    tasks: list[TaskData] = []
    for word in suite.tasks:
        try:
            card, split = parse_task(cards, word)
            if suite.kind == "sts" and isinstance(card, CollectionCard):
                load_pairs(card, split)  # says what to do with it
            if isinstance(card, TripleCard):
                raise HengyuError(
                    f"{card.path}: {card.name} holds triples, which are to train on and not to be weighed; name another "
                    f'task, and write fit_on = "{card.name}:{split}"'
                )
            tasks.append(loader.task(card, split))
        except Missing as e:
            missing.append((word, e))
        except HengyuError as e:
            problems += [f"{suite.path}: task '{word}': {p}" for p in e.problems]
    if missing and ("tasks" not in suite.partial or not tasks):
        problems += [f"{suite.path}: task '{word}': {e}" for word, e in missing]
    unfit: dict[tuple[str, str], dict[str, None]] = {}  # fit_on word and problem -> the entries that have it
    plan = Plan(suite, data_dir, tasks, {}, {}, loader.texts.texts, datasets=tuple(datasets))
    entries = [e for e in suite.entries if any(e.wanted_of(encoder.called) for encoder in suite.encoders)]
    plan.left_out += [
        f"entry '{e.entry}', which the suite has for {', '.join(e.encoders)} alone"
        for e in suite.entries
        if e not in entries
    ]
    for task in tasks:
        for spec in entries:
            word = plan.fit_word(spec)
            if word == "none" or ((task.name, word) in plan.fits and not spec.entry.labelled):
                continue
            try:
                plan.fits[task.name, word] = loader.fit(task, word, labelled=spec.entry.labelled)
            except Missing as e:
                if "entries" not in suite.partial or suite.kind != "sts":
                    unfit.setdefault((word, str(e)), {})[str(spec.entry)] = None
                elif (task.name, word) not in plan.lacking:
                    plan.lacking[task.name, word] = e.brief
                    what = f"what is fitted on '{word}', on {task.name}"
                    missing.append((task.name, Missing(f"{what}: {e}", f"{what}: {e.brief}")))
            except HengyuError as e:
                for p in e.problems:
                    unfit.setdefault((word, p), {})[str(spec.entry)] = None
        if suite.kind == "retrieval":
            try:
                plan.relevance[task.name] = _relevance(suite, task)
            except HengyuError as e:
                problems += [f"{suite.path}: {p}" for p in e.problems]
            continue
        tuned = any(spec.entry.tuners for spec in entries)
        valid = loader.valid(task) if task.pairs.card.binary or tuned else None
        if valid and task.pairs.card.binary:
            plan.thresholds[task.name] = loader.task(task.pairs.card, "valid")
        if valid and tuned:
            plan.held[task.name] = valid
    for (word, problem), (first, *others) in unfit.items():
        more = f" (and {len(others)} more)" if others else ""
        problems.append(f"{suite.path}: entry '{first}'{more} with fit_on '{word}': {problem}")
    gather(dict.fromkeys(problems))
    plan.left_out += [str(e) for _, e in missing]
    plan.warnings += [f"left out: {e.brief}" for _, e in missing]
    for pairs in loader.loaded:
        plan.warnings += pairs.notes
        if pairs.dropped:
            lines = ", ".join(map(str, pairs.dropped[:5])) + (", ..." if len(pairs.dropped) > 5 else "")
            plan.warnings.append(f"{pairs.task}: {len(pairs.dropped)} malformed lines dropped (line {lines})")
    return plan


def _relevance(suite: Suite, task: TaskData) -> Relevance:
    """Return what a retrieval suite asks of a task; raises `HengyuError` where nothing says what is relevant."""
    if isinstance(task, SearchData):
        c = task.collection
        return Relevance.judged(task.corpus, task.queries, c.own, c.asked, c.answers, c.labels)
    card = task.pairs.card
    if card.binary:
        least = 1.0
    elif suite.relevant is None:
        low, high = card.scale
        raise HengyuError(
            f"task '{task.name}': its labels are graded from {low:g} to {high:g}; "
            f"say from which on a pair is relevant, like relevant = {low + 0.8 * (high - low):g}"
        )
    else:
        least = suite.relevant
    return Relevance.of(task.first, task.second, task.pairs.labels >= least, f"task '{task.name}'")


class _Loader:
    """Reads each split once."""

    def __init__(self, cards: dict[str, Card], data_dir: Path | None) -> None:
        self.cards = cards
        self.data_dir = data_dir
        self.texts = TextIndex()
        self._pairs: dict[tuple[str, str], Pairs] = {}
        self._done: dict[tuple[str, str], TaskData] = {}
        self._rows: dict[tuple[tuple[str, ...], bool], tuple[Ids, Ids, str]] = {}

    @property
    def loaded(self) -> list[Pairs]:
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
        card = task.pairs.card
        source = word.removesuffix(_DISTINCT)
        if source == "target":
            parts = [task]
        elif source == "all":
            parts = []
            for split in card.splits:
                try:
                    parts.append(self.task(card, split))
                except HengyuError:
                    if split == task.pairs.split:
                        raise
        elif ":" in source:
            parts = [self.task(*parse_task(self.cards, source))]
        elif source in card.splits:
            parts = [self.task(card, source)]
        elif source in _USUAL:
            problem = f"{card.name} has no split '{source}'; give it one, or use another fit_on ({', '.join(card.splits)}, target)"
            raise Missing(problem, problem)
        else:
            raise HengyuError(
                f"{card.name} has no split '{source}'; use target, all, a split ({', '.join(card.splits)}) or CARD:split"
            )
        if labelled:
            _refuse_own_labels(task, parts)
            gather(
                f"{p.name} has judgements and no labelled pairs; name another split to learn from"
                for p in parts
                if isinstance(p, SearchData)
            )
        splits = tuple(p.name for p in parts)
        return FitData(word, splits, *self._sentences(splits, parts, distinct=source != word), tuple(parts))

    def _sentences(self, splits: tuple[str, ...], parts: Sequence[TaskData], *, distinct: bool) -> tuple[Ids, Ids, str]:
        """Return the texts of splits as they first appear there, whatever else the plan holds; their counts, the digest."""
        if (splits, distinct) not in self._rows:
            ids, counts = _counted(np.concatenate([p.ids for p in parts]))
            counts = np.ones_like(counts) if distinct else counts
            digest = text_digest((self.texts.texts[i] for i in ids), counts)
            self._rows[splits, distinct] = ids, counts, digest
        return self._rows[splits, distinct]


def _refuse_own_labels(task: TaskData, parts: Sequence[TaskData]) -> None:
    """Refuse labels that a method would be trained on and weighed on: of the same split, or of a copy of it."""
    for part in parts:
        if part.name == task.name or part.pairs.digest == task.pairs.digest:
            raise HengyuError(
                f"it learns from labels, and would be weighed on {task.name} by labels it was trained on; "
                'write fit_on = "train", "valid" or another split than the one it is weighed on'
            )
