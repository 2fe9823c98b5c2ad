"""Published figures (reports/published/*.csv), held beside a run's numbers where model, method and protocol are the same.

A row gives ``models`` (the ids of one model, spaces between), pooling, entry, fit_on, card, ``splits`` joined with "+", the
metric (Spearman where a file has no such column), the value x 100, and in words the rest of its protocol and its source. Figures
over several splits are the means weighted by pairs (w-avg); they are never compared with a number of one split.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache

from hengyu.base.errors import HengyuError
from hengyu.base.paths import share
from hengyu.methods.grammar import parse_entry
from hengyu.storage.records import Record, Run

__all__ = ["Published", "matching_published", "of_task", "published"]

_Key = tuple[str, str, str, str, str, frozenset[str], str]
_METRIC = "spearman"


@dataclass(frozen=True)
class Published:
    """One figure in [-1, 1] with its source."""

    models: tuple[str, ...]
    pooling: str
    entry: str  # in the printed form of our grammar
    fit_on: str
    card: str
    splits: frozenset[str]
    value: float
    protocol: str
    source: str
    metric: str = _METRIC

    @property
    def keys(self) -> list[_Key]:
        """What a number of ours must be of, for each id of the model."""
        return [(m, self.pooling, self.entry, self.fit_on, self.card, self.splits, self.metric) for m in self.models]


@cache
def published() -> tuple[Published, ...]:
    """Return all published figures; raises `HengyuError` with file and line for one that cannot be read."""
    found = []
    for path in sorted(share("reports", "published").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                try:
                    found.append(
                        Published(
                            models=tuple(row["models"].split()),
                            pooling=row["pooling"],
                            entry=str(parse_entry(row["entry"])),
                            fit_on=row["fit_on"],
                            card=row["card"],
                            splits=frozenset(row["splits"].split("+")),
                            value=float(row["value"]) / 100,
                            protocol=row["protocol"],
                            source=row["source"],
                            metric=row.get("metric") or _METRIC,
                        )
                    )
                except (KeyError, TypeError, ValueError) as e:
                    raise HengyuError(
                        f"{path}: line {number}: not a published figure ({e}); mend or delete the line"
                    ) from None
    return tuple(found)


def matching_published(run: Run) -> list[tuple[Record, Published]]:
    """Return the numbers of a run that have published counterparts, with them, in the order of the records."""
    known: dict[_Key, list[Published]] = {}
    for figure in published():
        for key in figure.keys:
            known.setdefault(key, []).append(figure)
    found = []
    for r in run.records:
        if not r.on_board or r.status != "ok" or not r.card or r.of is not None:
            continue  # a sample is no counterpart of a whole task
        splits = frozenset(r.split.split("+"))
        if (len(splits) > 1) != r.task.endswith(":w-avg"):
            continue  # the plain average of splits has no published counterpart
        found += [(r, figure) for figure in known.get((*r.row, r.card, splits, r.metric), ())]
    return found


def of_task(record: Record) -> str:
    """Return what a number is of, for a table of several metrics: its task, and the metric unless it is Spearman."""
    return record.task if record.metric == _METRIC else f"{record.task}, {record.metric}"
