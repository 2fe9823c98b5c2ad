"""Which ranks of a published board can be told apart at all, given its number of pairs and the ties of its labels.

A published figure has no interval. What it would be is known from our own rows on the same pairs: their standard error
reflects the number of pairs and the ties of the labels. Two models are evaluated on the same pairs, so their errors move
together; how much is estimated from the correlation of our rows' resamples, where a run has two models or more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist, median

import numpy as np

from hengyu.evaluation.observed import seen_in
from hengyu.evaluation.run_metrics import METRIC, Key, scores_of
from hengyu.report.published import Published
from hengyu.storage.records import Run

__all__ = ["Audit", "audit_board", "shared_error"]


@dataclass(frozen=True)
class Audit:
    """What a published board can tell.

    Attributes:
        task: its task.
        models: the number of models.
        n: the number of pairs.
        error: the standard error of one Spearman.
        together: the correlation of two models' errors; None where it is not known.
        least: the smallest difference that is significant between two models: with that correlation, and for independent
            errors, which is careful.
        neighbours: under both, how many of the models next to each other differ by that much, out of ``models - 1``.
        pairs: under both, how many of all pairs of models do.
        first: under both, how many models cannot be told apart from the best, itself included.
    """

    task: str
    models: int
    n: int
    error: float
    together: float | None
    least: tuple[float, float]
    neighbours: tuple[int, int]
    pairs: tuple[int, int]
    first: tuple[int, int]

    @property
    def all_pairs(self) -> int:
        """The number of pairs of models."""
        return self.models * (self.models - 1) // 2


def audit_board(
    task: str, n: int, figures: Sequence[Published], error: float, together: float | None, level: float = 0.95
) -> Audit:
    """Return what a board of figures can tell.

    Args:
        task: its task.
        n: the number of pairs.
        figures: one for each model, all under one protocol.
        error: the standard error of one Spearman.
        together: the correlation of two models' errors; None to take them as independent, which is careful.
        level: the confidence level.
    """
    values = sorted((f.value for f in figures), reverse=True)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    shared, alone = (z * error * math.sqrt(2 * (1 - r)) for r in (together or 0.0, 0.0))

    def both(differences: Sequence[float]) -> tuple[int, int]:
        return sum(d > shared for d in differences), sum(d > alone for d in differences)

    near = both([a - b for a, b in zip(values, values[1:], strict=False)])
    behind = both([values[0] - v for v in values])
    first = len(values) - behind[0], len(values) - behind[1]
    pairs = both([a - b for a, b in combinations(values, 2)])
    return Audit(task, len(values), n, error, together, (shared, alone), near, pairs, first)


def shared_error(run: Run, task: str) -> tuple[float | None, float | None]:
    """Return the standard error of a model's Spearman on a task, and the correlation of two models' errors.

    Both are medians over the models' raw rows of a run; None where it has too few.
    """
    scores = scores_of(run, (METRIC,))
    models = {str(e["encoder"]): e for e in run.header.get("encoders", ()) if e.get("kind") == "model"}
    z = NormalDist().inv_cdf(0.5 + scores.level / 2)
    rows = {k: v for k, v in scores.cells.items() if k.task == task and k.encoder in models and k.entry == "raw"}
    errors = [(v.high - v.low) / (2 * z) for v in rows.values() if v.low is not None and v.high is not None]
    chosen: dict[str, Key] = {}
    for key in rows:
        weights = str(models[key.encoder].get("fingerprint") or key.encoder)
        chosen.setdefault(weights, key)  # two settings of one model are no two models
    together = None
    if len(chosen) > 1:
        seen, _ = seen_in(scores, task)
        drawn = seen.replicates([k for k in chosen.values() if k in seen.cells], 1000, scores.seed) if seen else {}
        if len(drawn) > 1:
            every = [float(np.corrcoef(a, b)[0, 1]) for a, b in combinations(drawn.values(), 2)]
            together = median(every)
    return (median(errors) if errors else None), together
