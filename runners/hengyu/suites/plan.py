"""What a run does: its tasks, what each method is fitted on, and their distinct sentences, to which all of it refers by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.cards.data import Pairs
from hengyu.cards.distractors import Distractors
from hengyu.methods.grammar import Entry
from hengyu.numerics.cloud_sample import CloudSample
from hengyu.storage.identity import array_digest, digest
from hengyu.suites.entries import SuiteEntry
from hengyu.suites.suite import Suite
from hengyu.tasks.interface.data import TaskData
from hengyu.tasks.interface.truth import Truth

__all__ = ["DISTINCT", "FitData", "Ids", "Plan", "TextIndex", "counted"]

Ids = NDArray[np.int64]
DISTINCT = "-distinct"  # at the end of ``fit_on``: every sentence counts once


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
    rows: tuple[Ids, ...] = ()  # of a mixture: which pairs of each part are learned from, some perhaps several times

    @property
    def distinct(self) -> bool:
        """Whether repeats are left out."""
        return self.word.endswith(DISTINCT)

    @property
    def halves(self) -> list[tuple[Ids, Ids]]:
        """The first and the second texts (n,) of the pairs of each part that are learned from."""
        rows: Sequence[Any] = self.rows or [slice(None)] * len(self.parts)
        return [(p.first[at], p.second[at]) for p, at in zip(self.parts, rows, strict=True)]

    @property
    def labels(self) -> list[NDArray[np.float64]]:
        """The labels (n,) of these pairs."""
        rows: Sequence[Any] = self.rows or [slice(None)] * len(self.parts)
        return [p.pairs.labels[at] for p, at in zip(self.parts, rows, strict=True)]

    def held_out(self, task: TaskData, watched: Pairs | None) -> Pairs | None:
        """Return the pairs that a training for a task is watched on: ``watched``, unless they are trained on or evaluated."""
        if watched is None or watched.digest in {task.pairs.digest, *(p.pairs.digest for p in self.parts)}:
            return None
        return watched

    @cached_property
    def by_side(self) -> FitData:
        """The same for an encoder that encodes queries otherwise than documents: the documents, then the queries.

        A text that is both counts on each side as often as it occurs there. Sentences of pairs are documents.
        """
        asked = np.concatenate([np.zeros(0, np.int64), *(p.asked for p in self.parts)])
        if not len(asked):
            return self
        sides = [counted(ids) for ids in (np.concatenate([p.searched for p in self.parts]), asked)]
        ids, counts = (np.concatenate(both) for both in zip(*sides, strict=True))
        if self.distinct:
            counts = np.ones_like(counts)
        asks = np.arange(len(ids)) >= len(sides[0][0])
        order = np.argsort(self.ids)
        places = order[np.searchsorted(self.ids, ids, sorter=order)]
        key = digest({"rows": self.digest, "sides": array_digest(places, counts, asks)})
        return FitData(self.word, self.splits, ids, counts, key, self.parts, asks)


@dataclass(frozen=True)
class Plan:
    """What a run does; made once, before anything is encoded.

    Attributes:
        thresholds: binary task -> the valid split its decision threshold is chosen on.
        fits: (task, fit_on word) -> sentences.
        texts: distinct, in order of first appearance.
        lacking: like fits, of a partial suite: what is not here.
        held: task -> the valid split that tuners are watched on.
        warnings: for the page of the run.
        datasets: folders of cards beside the shipped ones.
        left_out: what the suite runs without, and how to get it.
        truths: task -> what its observations are judged by.
        distractors: task -> what is searched beside its own documents, of the suite and of its card; tasks without are not there.
    """

    suite: Suite
    data_dir: Path | None = None
    tasks: Sequence[TaskData] = ()
    thresholds: Mapping[str, TaskData] = field(default_factory=dict)
    fits: Mapping[tuple[str, str], FitData] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    lacking: Mapping[tuple[str, str], str] = field(default_factory=dict)
    held: Mapping[str, Pairs] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    datasets: tuple[Path, ...] = ()
    left_out: Sequence[str] = ()
    truths: Mapping[str, Truth] = field(default_factory=dict)
    distractors: Mapping[str, Distractors] = field(default_factory=dict)

    def select(self, ids: Ids) -> list[str]:
        """Return the texts of numbers (n,)."""
        return [self.texts[int(i)] for i in ids]

    def texts_of(self, side: str) -> Ids:
        """Return the numbers of the texts that are needed as "query" or as "document", ascending."""
        found = [truth.texts(side) for truth in self.truths.values()]
        for fit in (fit.by_side for fit in self.fits.values()):
            asks = np.zeros(len(fit.ids), np.bool_) if fit.asks is None else fit.asks
            found.append(fit.ids[asks == (side == "query")])
        return np.unique(np.concatenate([np.zeros(0, np.int64), *found]))

    def fit_word(self, spec: SuiteEntry) -> str:
        """Return what an entry is fitted on, as the board says it."""
        return self.suite.fit_word(spec)

    def tuned_ids(self, task: TaskData, entry: Entry, fit: FitData) -> tuple[Ids, Ids]:
        """Return the numbers of the texts that an entry's tuned encoder encodes: those of the task, and others to fit on.

        The others are those of the training data, where a further step is fitted on their vectors, and none elsewhere.
        """
        beside = self.thresholds.get(task.name)
        own = np.unique(np.concatenate([task.ids, *([beside.ids] if beside else [])]))
        return own, np.setdiff1d(fit.ids, own) if entry.fits_vectors else own[:0]

    def cloud_sample(self, entry: Entry, seed: int | None) -> CloudSample | None:
        """Return what looks at the cloud of an entry's vectors.

        Nothing does for the draws after the first, nor under a similarity of its own: the vectors are those of the cosine's row.
        An entry that scores pairs together has none.
        """
        first = seed in (None, self.suite.seed) and entry.similarity is None and not entry.joint
        return CloudSample(self.suite.seed) if first else None


def counted(ids: Ids) -> tuple[Ids, Ids]:
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
