"""Differences pair by pair: both numbers of a cell under the same resamples of the same pairs.

Where two runs kept their observations, both similarity vectors are run under the resamples of the board. A baseline
file is too small for them; it keeps `DRAWS` replicates a cell instead. Resamples depend on seed, task and n alone, so
that a later run repeats exactly those, and the spread of the differences of the replicates is the standard error of
the paired difference, known to 1 / sqrt(2 `DRAWS`) = 9 % of itself, which Student's t accounts for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hengyu.bootstrap import LANES
from hengyu.scores import Key, Scores, similarities
from hengyu.stats import Resamples

__all__ = ["DRAWS", "Errors", "draw", "paired_errors", "replicates"]

DRAWS = LANES
Floats = NDArray[np.float64]
Errors = dict[Key, tuple[float, int]]  # standard error of the difference, replicates behind it


def draw(scores: Scores) -> tuple[dict[Key, Floats], dict[str, str], list[str]]:
    """Return `DRAWS` replicates of every Spearman cell of a run, a digest of each task's resamples, and notes."""
    draws: dict[Key, Floats] = {}
    digests: dict[str, str] = {}
    notes: list[str] = []
    for task in scores.tasks:
        labels, seen, amiss = similarities(scores, task)
        notes += amiss
        if labels is None or not seen:
            continue
        resamples = Resamples(labels, DRAWS, seed=scores.seed, key=task)
        digests[task] = _digest(resamples)
        draws |= replicates(resamples, seen)
    return draws, digests, notes


def paired_errors(baseline: Scores, current: Scores, tasks: Sequence[str]) -> tuple[Errors, list[str]]:
    """Return the standard error of the difference of every cell that can be compared pair by pair, and notes.

    ``tasks`` are those whose pairs are the same on both sides. Cells without an error are left to stored intervals.
    """
    errors: Errors = {}
    notes: list[str] = []
    for task in tasks:
        labels, now, amiss = similarities(current, task)
        notes += amiss
        if labels is None or not now:
            continue
        if baseline.folder is None:
            before: Mapping[Key, Floats] = {k: v for k, v in baseline.draws.items() if k in now}
            resamples = Resamples(labels, DRAWS, seed=baseline.seed, key=task)
            if before and baseline.tasks[task].get("draws") != _digest(resamples):
                notes.append(f"{task}: the baseline's replicates are of other resamples; make the baseline anew")
                continue
        else:
            theirs, seen, amiss = similarities(baseline, task)
            notes += amiss
            if theirs is None or not np.array_equal(theirs, labels):
                if theirs is not None:
                    notes.append(f"{task}: the two runs kept different labels")
                continue
            resamples = Resamples(labels, current.resamples, seed=current.seed, key=task)
            before = replicates(resamples, {k: x for k, x in seen.items() if k in now})
        after = replicates(resamples, {k: now[k] for k in before})
        for key in before.keys() & after.keys():
            errors[key] = (float(np.std(after[key] - before[key], ddof=1)), resamples.resamples)
    return errors, notes


def replicates(resamples: Resamples, seen: Mapping[Key, Sequence[Floats]]) -> dict[Key, Floats]:
    """Return the replicates of each cell, of several seeds their mean; those left out that a resample has no value of."""
    if not seen:
        return {}
    rows = iter(resamples.run([x for draws in seen.values() for x in draws])["spearman"])
    means = {k: np.mean([next(rows) for _ in draws], axis=0) for k, draws in seen.items()}
    return {k: row for k, row in means.items() if not np.isnan(row).any()}


def _digest(resamples: Resamples) -> str:
    """Return what says that two sides have the same resamples: 16 digits over the first block's weights."""
    return hashlib.sha256(resamples.weights(0).tobytes()).hexdigest()[:16]
