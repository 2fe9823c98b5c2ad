"""What a run has seen of one task, cell by cell, ready to be drawn again: what makes a comparison paired."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hengyu.cards.relevance import Relevance
from hengyu.evaluation.influence import spearman_contributions
from hengyu.evaluation.query_bootstrap import group_sums, mean_replicates, resamples_of
from hengyu.evaluation.relevance_file import load_relevance
from hengyu.evaluation.run_metrics import METRIC, Key, RunMetrics
from hengyu.numerics.metrics import spearman
from hengyu.numerics.resampling import Resamples
from hengyu.storage.records.observations import ObservationRef, damaged_in, kept_in, load_groups, load_labels
from hengyu.tasks.ranking import QUALITY, scores

__all__ = ["ObservedTask", "seen_in"]

Floats = NDArray[np.float64]
_SAME = 1e-9  # a kept observation gives its stored number again to within this


class ObservedTask(Protocol):
    """What a run has seen of one task."""

    @property
    def cells(self) -> Collection[Key]:
        """The cells that have an observation which gives their number."""

    def replicates(self, keys: Collection[Key], resamples: int, seed: int) -> dict[Key, Floats]:
        """Return the replicates (resamples,) of cells; of several seeds their mean; those without a value left out."""

    def mark(self, resamples: int, seed: int) -> str:
        """Return what says that two sides have the same resamples: 16 digits over the first block's weights."""

    def like(self, other: ObservedTask) -> bool:
        """Whether both have the same pairs and labels, or queries and relevance."""

    @property
    def groups(self) -> NDArray[np.int64]:
        """The group (n,) of each pair or query, numbered from 0: those of different groups are independent."""

    @property
    def bound(self) -> float:
        """How far one group alone can move the sum over pairs or queries; 0 where that is not known."""

    @property
    def limit(self) -> float:
        """The largest difference of two values."""

    def contributions(self, key: Key) -> Floats:
        """Return what each pair or query contributes to a cell's number (n,): their mean is the number."""

    def digest(self) -> str:
        """Return 16 digits that two sides share where `groups` and the order of pairs or queries are the same."""


@dataclass(frozen=True)
class _Pairs:
    """Similarities (n,) of each cell, one for each seed, and the labels (n,)."""

    task: str
    labels: Floats
    groups: NDArray[np.int64]
    cells: Mapping[Key, list[Floats]]
    bound: float = 0.0
    limit: float = 2.0

    def contributions(self, key: Key) -> Floats:
        return np.asarray(np.mean([spearman_contributions(x, self.labels) for x in self.cells[key]], axis=0))

    def digest(self) -> str:
        return _sha(self.groups)

    def _resamples(self, resamples: int, seed: int) -> Resamples:
        return Resamples(self.labels, resamples, seed=seed, key=self.task)

    def replicates(self, keys: Collection[Key], resamples: int, seed: int) -> dict[Key, Floats]:
        seen = {k: self.cells[k] for k in keys}
        if not seen:
            return {}
        drawn = self._resamples(resamples, seed)
        return _means(seen, drawn.run([x for draws in seen.values() for x in draws])["spearman"])

    def mark(self, resamples: int, seed: int) -> str:
        return _digest(self._resamples(resamples, seed))

    def like(self, other: ObservedTask) -> bool:
        return isinstance(other, _Pairs) and np.array_equal(self.labels, other.labels)


@dataclass(frozen=True)
class _Queries:
    """Values of the queries (Q,) of each cell, one for each seed, and what was asked."""

    task: str
    relevance: Relevance
    cells: Mapping[Key, list[Floats]]
    limit: float = 1.0

    @property
    def groups(self) -> NDArray[np.int64]:
        return self.relevance.groups

    @property
    def bound(self) -> float:
        return float(np.bincount(self.groups).max(initial=0))

    def contributions(self, key: Key) -> Floats:
        return np.asarray(np.mean(self.cells[key], axis=0))

    def digest(self) -> str:
        r = self.relevance
        return _sha(r.own, r.partners, r.grades, r.starts, r.groups)

    def replicates(self, keys: Collection[Key], resamples: int, seed: int) -> dict[Key, Floats]:
        seen = {k: self.cells[k] for k in keys}
        if not seen:
            return {}
        sizes = np.bincount(self.relevance.groups).astype(np.float64)
        sums = np.stack([group_sums(x, self.groups) for draws in seen.values() for x in draws], axis=1)
        return _means(seen, mean_replicates(sums, sizes, resamples, seed, self.task))

    def mark(self, resamples: int, seed: int) -> str:
        return _digest(resamples_of(int(self.relevance.groups.max()) + 1, resamples, seed, self.task))

    def like(self, other: ObservedTask) -> bool:
        if not isinstance(other, _Queries):
            return False
        names = ("own", "partners", "grades", "starts")
        return all(np.array_equal(getattr(self.relevance, n), getattr(other.relevance, n)) for n in names)


def _means(seen: Mapping[Key, list[Floats]], drawn: Floats) -> dict[Key, Floats]:
    rows = iter(drawn)
    means = {k: np.mean([next(rows) for _ in draws], axis=0) for k, draws in seen.items()}
    return {k: row for k, row in means.items() if not np.isnan(row).any()}


def _sha(*arrays: NDArray[Any]) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def _digest(resamples: Resamples) -> str:
    return hashlib.sha256(resamples.weights(0).tobytes()).hexdigest()[:16]


def seen_in(scores: RunMetrics, task: str) -> tuple[ObservedTask | None, list[str]]:
    """Return what a run has seen of a task, None where it kept too little, and notes on what is amiss.

    Observations that do not give the stored number again are left out: they are of another run, or damaged.
    """
    if scores.folder is None:
        return None, []
    kind = _of_queries if scores.kind == "retrieval" else _of_pairs
    found, what = kind(scores, task, kept_in(scores.folder))
    if found is None:
        return None, [f"{scores.folder}: keeps no {what} of {task}; weigh the suite again to compare pair by pair"]
    own = (METRIC,) if scores.kind == "sts" else QUALITY
    wanted = [k for k, v in scores.cells.items() if k.task == task and k.metric in own and v.value is not None]
    missing = len(wanted) - len(found.cells)
    if not missing:
        return found, []
    notes = [
        f"{path}: has changed since it was written; the suite makes it again" for path in damaged_in(scores.folder)
    ]
    notes.append(
        f"{scores.folder}: {missing} of {len(wanted)} cells of {task} have no observation that gives their number; "
        "weigh the suite again with --force"
    )
    return found, notes


Place = tuple[str, str, str, str, str]


def _of_pairs(
    scores: RunMetrics, task: str, kept: Mapping[Place, list[ObservationRef]]
) -> tuple[ObservedTask | None, str]:
    assert scores.folder is not None
    labels = load_labels(scores.folder).get(task)
    if labels is None:
        return None, "labels"
    found: dict[Key, list[Floats]] = {}
    for key, number in scores.cells.items():
        if key.task != task or key.metric != METRIC or number.value is None:
            continue
        read = [place.read() for place in kept.get(key[:5], ())]
        seen = [x for x in read if x is not None and x.shape == labels.shape]
        if seen and _gives(seen, labels, number.value):
            found[key] = seen
    groups = load_groups(scores.folder).get(task)
    if groups is None or groups.shape != labels.shape:  # as of a run whose pairs share no sentence
        groups = np.arange(len(labels))
    return _Pairs(task, labels, groups, found), ""


def _of_queries(
    run: RunMetrics, task: str, kept: Mapping[Place, list[ObservationRef]]
) -> tuple[ObservedTask | None, str]:
    assert run.folder is not None
    relevance = load_relevance(run.folder, task)
    if relevance is None:
        return None, "relevance"
    found: dict[Key, list[Floats]] = {}
    for place in dict.fromkeys(key[:5] for key in run.cells if key.task == task):
        near = [x for x in (one.neighbours() for one in kept.get(place, ())) if x is not None]
        values = [scores(relevance, *x) for x in near if len(x[0]) == len(relevance.queries)]
        for metric in QUALITY:
            key = Key(*place, metric)
            number = run.cells.get(key)
            if not values or number is None or number.value is None:
                continue
            if abs(float(np.mean([v[metric].mean() for v in values])) - number.value) < _SAME:
                found[key] = [v[metric] for v in values]
    return _Queries(task, relevance, found), ""


def _gives(seen: list[Floats], labels: Floats, value: float) -> bool:
    try:
        return abs(float(np.mean([spearman(x, labels) for x in seen])) - value) < _SAME
    except ValueError:
        return False
