"""What the pairs that were seen do to the scores of a run: with them and without them, under the same resamples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import Degenerate, HengyuError
from hengyu.evaluation.observed import seen_in
from hengyu.evaluation.run_metrics import METRIC, Key, scores_of
from hengyu.numerics.bootstrap import LANES
from hengyu.numerics.metrics import spearman
from hengyu.numerics.resampling import Resamples, interval
from hengyu.storage.records import Run

__all__ = ["Effect", "effects"]

Floats = NDArray[np.float64]
_LEAST = 20  # pairs that a score is made from


@dataclass(frozen=True)
class Effect:
    """The Spearman of one row with and without the pairs that were seen.

    Attributes:
        key: the row and the task.
        whole, unseen: the score on all pairs, and on those that were not seen.
        change: whole minus unseen, with its paired interval.
        beyond: the same of the row minus raw of the same encoder and pooling: pairs that were seen can be easier than others
            for every model, which shows in raw too. None for raw itself, and without a raw row.
    """

    key: Key
    whole: float
    unseen: float
    change: tuple[float, float, float]
    beyond: tuple[float, float, float] | None


def effects(run: Run, task: str, seen: NDArray[np.bool_], resamples: int = 500) -> list[Effect]:
    """Return what the pairs of a mask (n,) do to the rows of a run on a task.

    The resamples draw from all pairs; each is scored whole, and without the pairs that were seen.

    Raises:
        HengyuError: for a run that does not keep the similarities of the pairs, or too few pairs that were not seen.
    """
    scores = scores_of(run, (METRIC,))
    found, notes = seen_in(scores, task)
    labels = None if found is None else np.asarray(getattr(found.truth, "labels", ()), np.float64)
    if found is None or labels is None or len(labels) != len(seen):
        raise HengyuError(
            *(notes or [f"run {run.id}: {task} has not the pairs that were audited; run the suite again"])
        )
    left = int((~seen).sum())
    if left < _LEAST:
        raise HengyuError(f"{task}: only {left} of {len(seen)} pairs were not seen, too few for a score")
    similarity = {
        key: np.mean([one.similarity for one in draws], axis=0)
        for key, draws in found.cells.items()
        if key.metric == METRIC
    }
    names = [k for k in similarity if np.isfinite(similarity[k]).all()]
    drawn = Resamples(labels, resamples, seed=scores.seed, key=task)
    whole, unseen = _replicates([similarity[k] for k in names], labels, seen, drawn)
    raw = {(k.encoder, k.pooling): i for i, k in enumerate(names) if k.entry == "raw"}
    out = []
    for i, key in enumerate(names):
        try:
            values = [spearman(similarity[key], labels), spearman(similarity[key][~seen], labels[~seen])]
        except Degenerate:
            continue
        change = values[0] - values[1]
        beyond = None
        j = raw.get((key.encoder, key.pooling))
        if j is not None and j != i:
            other = similarity[names[j]]
            base = spearman(other, labels) - spearman(other[~seen], labels[~seen])
            beyond = (change - base, *_ends((whole[i] - unseen[i]) - (whole[j] - unseen[j]), scores.level))
        out.append(Effect(key, values[0], values[1], (change, *_ends(whole[i] - unseen[i], scores.level)), beyond))
    return out


def _ends(replicates: Floats, level: float) -> tuple[float, float]:
    return interval(replicates, level)


def _replicates(
    rows: Sequence[Floats], labels: Floats, seen: NDArray[np.bool_], drawn: Resamples
) -> tuple[Floats, Floats]:
    """Return the Spearman of each row and resample (rows, resamples): of all pairs, and of those that were not seen."""
    out: list[Any] = [np.full((len(rows), drawn.resamples), np.nan) for _ in range(2)]
    weights = np.zeros((0, 0), np.uint8)
    for b in range(drawn.resamples):
        if b % LANES == 0:
            weights = drawn.weights(b // LANES)
        chosen = np.repeat(np.arange(len(labels)), weights[:, b % LANES])
        for part, ids in zip(out, (chosen, chosen[~seen[chosen]]), strict=True):
            for r, x in enumerate(rows):
                try:
                    part[r, b] = spearman(x[ids], labels[ids])
                except (Degenerate, ValueError):
                    continue
    return out[0], out[1]
