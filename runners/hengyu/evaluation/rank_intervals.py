"""How a row stands in its column: how far behind the best, whether that can be told apart, and which ranks it may have.

All rows of a column share the resamples, so that a difference from the best row is paired. Its p-value takes the
difference over the spread of its replicates for Student's t, since a share of 1,000 replicates is never small enough for
Holm's correction over many rows. The best row was chosen by the same data, which makes the others look a little worse
than they are; Holm's correction over all rows errs the other way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hengyu.evaluation.cells import Cell, Row, scores_jointly
from hengyu.evaluation.paired_test import PairedChange, holm
from hengyu.numerics.metrics import places
from hengyu.storage.records import Standing

__all__ = ["paired_p", "rank_intervals", "standings"]

Floats = NDArray[np.float64]
_NOISE = 1e-12  # what is left of the difference of two equal rows is rounding


def standings(columns: Mapping[str, Mapping[Row, Cell]], metric: str, level: float) -> list[Standing]:
    """Return the standing of every row that has a metric, column by column; columns of a single row are left out.

    Rows of cross-encoders have none: the others are not compared with an upper bound.
    """
    found: list[Standing] = []
    for task, cells in columns.items():
        whole = [c for c in cells.values() if c.is_complete and metric in c.replicates and not scores_jointly(c.row[2])]
        if len(whole) > 1:
            found += _column(task, whole, metric, level)
    return found


def _column(task: str, cells: Sequence[Cell], metric: str, level: float) -> list[Standing]:
    values = np.array([c.values[metric] for c in cells])
    drawn = np.stack([c.replicates[metric] for c in cells])
    drawn = drawn[:, ~np.isnan(drawn).any(axis=0)]
    best = int(values.argmax())
    behind, replicates = values - values[best], drawn - drawn[best]
    others = [i for i in range(len(cells)) if i != best]
    adjusted = np.ones(len(cells))
    adjusted[others] = [p for p, _ in holm([paired_p(float(behind[i]), replicates[i]) for i in others], level)]
    ranks = rank_intervals(drawn, level)
    tails = (0.5 - 0.5 * level, 0.5 + 0.5 * level)
    return [
        Standing(
            task,
            *cell.row,
            behind=float(behind[i]),
            low=float(np.quantile(replicates[i], tails[0])) if drawn.size else None,
            high=float(np.quantile(replicates[i], tails[1])) if drawn.size else None,
            p=float(adjusted[i]),
            tied=bool(adjusted[i] > 1 - level),
            rank_low=None if ranks is None else int(ranks[0][i]),
            rank_high=None if ranks is None else int(ranks[1][i]),
        )
        for i, cell in enumerate(cells)
    ]


def paired_p(difference: float, replicates: Floats) -> float:
    """Return the two-sided p-value of no difference from its replicates (resamples,); 1 where nothing tells."""
    if len(replicates) < 2 or abs(difference) < _NOISE:
        return 1.0
    error = float(np.std(replicates, ddof=1))
    return PairedChange(difference, error if error > _NOISE else 0.0, len(replicates) - 1).p


def rank_intervals(drawn: Floats, level: float) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return the lowest and highest rank (rows,) over the resamples of replicates (rows, resamples), at a level.

    Equal numbers share the better rank. The quantiles are ranks that occur, the outer ones. None without resamples.
    """
    if not drawn.size:
        return None
    ranks = places(np.round(drawn, 9))
    low = np.quantile(ranks, 0.5 - 0.5 * level, axis=1, method="lower")
    high = np.quantile(ranks, 0.5 + 0.5 * level, axis=1, method="higher")
    return low.astype(np.int64), high.astype(np.int64)
