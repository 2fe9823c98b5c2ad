"""What a run has seen of one task, cell by cell, ready to be drawn again: what makes a comparison paired."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.evaluation.run_metrics import Key, RunMetrics
from hengyu.storage.records.observations import damaged_in, kept_in
from hengyu.tasks.interface.registry import find_task
from hengyu.tasks.interface.truth import Truth

__all__ = ["ObservedTask", "seen_in"]

Floats = NDArray[np.float64]
_SAME = 1e-9  # a kept observation gives its stored number again to within this


@dataclass(frozen=True)
class ObservedTask:
    """What a run has seen of one task.

    Attributes:
        truth: what it is judged by.
        cells: the scores of each cell whose observation gives its number, one for each seed.
    """

    truth: Truth
    cells: Mapping[Key, list[Any]]

    def replicates(self, keys: Collection[Key], resamples: int, seed: int) -> dict[Key, Floats]:
        """Return the replicates (resamples,) of cells; of several seeds their mean; those without a value left out."""
        found: dict[Key, Floats] = {}
        for metric in dict.fromkeys(key.metric for key in keys):
            seen = {k: self.cells[k] for k in keys if k.metric == metric}
            every = [x for draws in seen.values() for x in draws]
            rows = iter(self.truth.replicates(every, (metric,), resamples, seed)[metric])
            found |= {k: np.mean([next(rows) for _ in draws], axis=0) for k, draws in seen.items()}
        return {k: row for k, row in found.items() if not np.isnan(row).any()}

    def mark(self, resamples: int, seed: int) -> str:
        """Return what says that two sides have the same resamples: 16 digits over the first block's weights."""
        return hashlib.sha256(self.truth.resamples(resamples, seed).weights(0).tobytes()).hexdigest()[:16]

    def contributions(self, key: Key) -> Floats:
        """Return what each item contributes to a cell's number (n,): their mean is the number."""
        return np.asarray(np.mean([self.truth.contributions(x, key.metric) for x in self.cells[key]], axis=0))


def seen_in(scores: RunMetrics, task: str) -> tuple[ObservedTask | None, list[str]]:
    """Return what a run has seen of a task, None where it kept too little, and notes on what is amiss.

    Observations that do not give the stored number again are left out: they are of another run, or damaged.
    """
    if scores.folder is None:
        return None, []
    kind = find_task(scores.kind)
    truth = kind.load(scores.folder, task)
    if truth is None:
        return None, [f"{scores.folder}: keeps no {kind.keeps} of {task}; run the suite again to compare pair by pair"]
    wanted = [
        k for k, v in scores.cells.items() if k.task == task and k.metric in kind.compared and v.value is not None
    ]
    found = _given_again(scores, truth, wanted)
    missing = len(wanted) - len(found)
    if not missing:
        return ObservedTask(truth, found), []
    notes = [
        f"{path}: has changed since it was written; the suite makes it again" for path in damaged_in(scores.folder)
    ]
    notes.append(
        f"{scores.folder}: {missing} of {len(wanted)} cells of {task} have no observation that gives their number; "
        "run the suite again with --force"
    )
    return ObservedTask(truth, found), notes


def _given_again(scores: RunMetrics, truth: Truth, wanted: Collection[Key]) -> dict[Key, list[Any]]:
    """Return the scores of every cell whose observations give its number."""
    assert scores.folder is not None
    kept = kept_in(scores.folder)
    found: dict[Key, list[Any]] = {}
    places: dict[tuple[str, str, str, str, str], list[Key]] = {}
    for key in wanted:
        places.setdefault(key[:5], []).append(key)
    for place, keys in places.items():
        tensors = [(one.tensors(), one.row) for one in kept.get(place, ())]
        read = (truth.scores(held, row) for held, row in tensors if held is not None)
        seen = [x for x in read if x is not None]
        for key in keys:
            value = scores.cells[key].value
            if seen and value is not None and _gives(truth, seen, key.metric, value):
                found[key] = seen
    return found


def _gives(truth: Truth, seen: list[Any], metric: str, value: float) -> bool:
    try:
        return abs(float(np.mean([truth.value(x, metric) for x in seen])) - value) < _SAME
    except ValueError:
        return False
