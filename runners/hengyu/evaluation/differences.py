"""The paired differences that a suite asks for: two entries on the same pairs, under the same resamples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hengyu.evaluation.cells import Cell, Row, average, delta
from hengyu.evaluation.paired_test import holm
from hengyu.numerics.resampling import p_of_zero
from hengyu.storage.records import Difference
from hengyu.suites.plan import Plan
from hengyu.suites.suite import LEXICAL

__all__ = ["differences"]

Columns = dict[str, dict[Row, Cell]]


def differences(plan: Plan, columns: Columns, metric: str) -> list[Difference]:
    """Return the differences of a metric on every task, and on their mean where a row has all of them.

    Two entries are compared under the same encoder, pooling and fit_on; one that is fitted on nothing
    is compared with every fit_on, and lexical search with every encoder and pooling.
    """
    found = []
    sizes = {t.name: t.n for t in plan.tasks}
    weights = np.full(len(sizes), 1 / len(sizes))
    for entry, against in plan.suite.compared:
        for row in dict.fromkeys(r for t in sizes for r in columns[t] if r[2] == entry):
            pairs = {
                t: (mine, other) for t in sizes for mine, other in [_pair(columns[t], row, against)] if mine and other
            }
            whole = dict(sizes)
            if len(pairs) == len(sizes) > 1:
                whole["mean"] = sum(sizes.values())
                pairs["mean"] = (
                    average([m for m, _ in pairs.values()], weights, (metric,)),
                    average([o for _, o in pairs.values()], weights, (metric,)),
                )
            for task, (mine, other) in pairs.items():
                d = delta(mine, other, metric, plan.suite.level)
                if d["delta_low"] is not None:
                    numbers = (d["delta"], d["delta_low"], d["delta_high"])
                    p = p_of_zero(mine.replicates[metric] - other.replicates[metric], d["delta"])
                    found.append(Difference(task, *row[:2], row[3], entry, against, whole[task], *numbers, p))
    adjusted = (p for p, _ in holm([d.p or 0.0 for d in found], plan.suite.level))
    return [replace(d, p_adjusted=p) for d, p in zip(found, adjusted, strict=True)]


def _pair(cells: dict[Row, Cell], row: Row, against: str) -> tuple[Cell | None, Cell | None]:
    """Return the cells of a row and of the row it is compared with; None without a number."""
    encoder, pooling, _, fit_on = row
    mine = cells.get(row)
    places = ((encoder, pooling, against, fit_on), (encoder, pooling, against, "none"), (LEXICAL, "-", against, "none"))
    other = next((cells[place] for place in places if place in cells), None)
    return tuple(c if c is not None and c.is_complete else None for c in (mine, other))  # type: ignore[return-value]
