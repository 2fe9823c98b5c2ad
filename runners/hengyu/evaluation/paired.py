"""Differences pair by pair: what each pair, or each query, contributes to a number, in a baseline and in a run.

Where two runs kept their observations, the contributions of both are at hand. A baseline file is too small for them; it
keeps their means over at most `BLOCKS` blocks of independent groups. Which pairs are in a block follows from the data, so
that a later run repeats exactly those, and the difference of two block means is that of the same pairs. Baselines of
schema 1 hold `DRAWS` bootstrap replicates instead, whose spread is the standard error of the paired difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.evaluation.blocks import BLOCKS, block_means
from hengyu.evaluation.observed import ObservedTask, seen_in
from hengyu.evaluation.run_metrics import Key, RunMetrics
from hengyu.numerics.bootstrap import LANES

__all__ = ["BLOCKS", "DRAWS", "Paired", "keep_blocks", "paired_differences"]

DRAWS = LANES
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """What is known of the difference of one cell, compared pair by pair; the attributes are those of `Change`."""

    error: float
    freedom: float
    groups: int
    bound: float
    limit: float
    blocks: Floats | None = None
    resamples: int = 0


def keep_blocks(scores: RunMetrics) -> tuple[dict[Key, Floats], dict[str, dict[str, object]], list[str]]:
    """Return the block means (K,) of every cell that was observed, what each task's blocks are of, and notes.

    Of a task: "blocks", a digest of the data that they follow from, and "groups", the number of independent groups.
    """
    means: dict[Key, Floats] = {}
    about: dict[str, dict[str, object]] = {}
    notes: list[str] = []
    for task in scores.tasks:
        seen, amiss = seen_in(scores, task)
        notes += amiss
        if seen is None or not seen.cells:
            continue
        about[task] = {"blocks": seen.truth.order(), "groups": _count(seen)}
        means |= {key: block_means(seen.contributions(key), seen.truth.groups) for key in seen.cells}
    return means, about, notes


def paired_differences(
    baseline: RunMetrics, current: RunMetrics, tasks: Sequence[str]
) -> tuple[dict[Key, Paired], list[str]]:
    """Return what is known of the difference of every cell that can be compared pair by pair, and notes.

    ``tasks`` are those whose pairs are the same on both sides. Cells left out are compared by their stored intervals.
    """
    found: dict[Key, Paired] = {}
    notes: list[str] = []
    for task in tasks:
        now, amiss = seen_in(current, task)
        notes += amiss
        if now is None or not now.cells:
            continue
        if baseline.folder is not None:
            theirs, amiss = seen_in(baseline, task)
            notes += amiss
            if theirs is None:
                continue
            if not theirs.truth.like(now.truth):
                notes.append(f"{task}: the two runs kept different labels or relevance")
                continue
            before = {k: block_means(theirs.contributions(k), now.truth.groups) for k in theirs.cells if k in now.cells}
            found |= _by_blocks(before, now)
            continue
        before = {k: v for k, v in baseline.blocks.items() if k in now.cells}
        if before and baseline.tasks[task].get("blocks") != now.truth.order():
            notes.append(f"{task}: the baseline's blocks are of other data; make the baseline again")
            continue
        found |= _by_blocks(before, now)
        draws = {k: v for k, v in baseline.draws.items() if k in now.cells and k not in before}
        if draws and baseline.tasks[task].get("draws") != now.mark(DRAWS, baseline.seed):
            notes.append(f"{task}: the baseline's replicates are of other resamples; make the baseline again")
            continue
        found |= _by_draws(draws, now, baseline.seed)
    return found, notes


def _by_blocks(before: Mapping[Key, Floats], now: ObservedTask) -> dict[Key, Paired]:
    found = {}
    for key, theirs in before.items():
        blocks = block_means(now.contributions(key), now.truth.groups) - theirs
        if len(blocks) < 2:
            continue
        error = float(blocks.std(ddof=1)) / len(blocks) ** 0.5
        bound = now.truth.bound * len(blocks) / len(now.truth.groups)
        found[key] = Paired(error, len(blocks) - 1.0, _count(now), bound, now.truth.limit, blocks)
    return found


def _by_draws(before: Mapping[Key, Floats], now: ObservedTask, seed: int) -> dict[Key, Paired]:
    groups = _count(now)
    if groups < 2:
        return {}
    after = now.replicates(list(before), DRAWS, seed)
    freedom = 1.0 / (1.0 / (DRAWS - 1) + 1.0 / (groups - 1))
    few = (groups / (groups - 1)) ** 0.5  # a bootstrap's variance is that of n, not of n - 1
    bound = (now.truth.bound or now.truth.limit) * groups / len(now.truth.groups)
    return {
        key: Paired(
            few * float(np.std(after[key] - before[key], ddof=1)), freedom, groups, bound, now.truth.limit, None, DRAWS
        )
        for key in before.keys() & after.keys()
    }


def _count(seen: ObservedTask) -> int:
    return int(seen.truth.groups.max(initial=-1)) + 1
