"""Differences pair by pair: both numbers of a cell under the same resamples of the same pairs.

Where two runs kept their observations, both sides' are run under the resamples of the board, which draw pairs, or
groups of queries. A baseline file is too small for them; it keeps `DRAWS` replicates a cell instead. Resamples depend
on seed, task and n alone, so that a later run repeats exactly those, and the spread of the differences of the
replicates is the standard error of the paired difference, known to 1 / sqrt(2 `DRAWS`) = 9 % of itself, which
Student's t accounts for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hengyu.evaluation.observed import seen_in
from hengyu.evaluation.run_metrics import Key, RunMetrics
from hengyu.numerics.bootstrap import LANES

__all__ = ["DRAWS", "Errors", "draw", "paired_errors"]

DRAWS = LANES
Floats = NDArray[np.float64]
Errors = dict[Key, tuple[float, int]]  # standard error of the difference, replicates behind it


def draw(scores: RunMetrics) -> tuple[dict[Key, Floats], dict[str, str], list[str]]:
    """Return `DRAWS` replicates of every cell that was observed, a digest of each task's resamples, and notes."""
    draws: dict[Key, Floats] = {}
    digests: dict[str, str] = {}
    notes: list[str] = []
    for task in scores.tasks:
        seen, amiss = seen_in(scores, task)
        notes += amiss
        if seen is None or not seen.cells:
            continue
        digests[task] = seen.mark(DRAWS, scores.seed)
        draws |= seen.replicates(seen.cells, DRAWS, scores.seed)
    return draws, digests, notes


def paired_errors(baseline: RunMetrics, current: RunMetrics, tasks: Sequence[str]) -> tuple[Errors, list[str]]:
    """Return the standard error of the difference of every cell that can be compared pair by pair, and notes.

    ``tasks`` are those whose pairs are the same on both sides. Cells without an error are left to stored intervals.
    """
    errors: Errors = {}
    notes: list[str] = []
    for task in tasks:
        now, amiss = seen_in(current, task)
        notes += amiss
        if now is None or not now.cells:
            continue
        drawn, seed = (DRAWS, baseline.seed) if baseline.folder is None else (current.resamples, current.seed)
        if baseline.folder is None:
            before: Mapping[Key, Floats] = {k: v for k, v in baseline.draws.items() if k in now.cells}
            if before and baseline.tasks[task].get("draws") != now.mark(drawn, seed):
                notes.append(f"{task}: the baseline's replicates are of other resamples; make the baseline anew")
                continue
        else:
            theirs, amiss = seen_in(baseline, task)
            notes += amiss
            if theirs is None or not theirs.like(now):
                if theirs is not None:
                    notes.append(f"{task}: the two runs kept different labels or relevance")
                continue
            before = theirs.replicates([k for k in theirs.cells if k in now.cells], drawn, seed)
        after = now.replicates(list(before), drawn, seed)
        for key in before.keys() & after.keys():
            errors[key] = (float(np.std(after[key] - before[key], ddof=1)), drawn)
    return errors, notes
