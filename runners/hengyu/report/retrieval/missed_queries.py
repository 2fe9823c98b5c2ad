"""Errors of a search that people can read: the queries whose first relevant text comes last, and what came instead.

Texts are read from the data when the page is made, and only when that is asked for: they are not ours to publish.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.cards.collection import Collection
from hengyu.cards.data import Pairs
from hengyu.cards.relevance import Relevance
from hengyu.report.board.cell import percent
from hengyu.report.sheet import Sheet
from hengyu.storage.records import Record, Run
from hengyu.storage.records.observations import ObservationRef
from hengyu.tasks.interface.registry import find_task
from hengyu.tasks.search.relevance_file import load_relevance

__all__ = ["misses"]

_LONGEST = 300  # characters of a text that are shown
_HEADS = ("query", "expected", "place", "found first")


@dataclass(frozen=True)
class _Asked:
    """A task's relevance with its texts."""

    relevance: Relevance
    documents: Sequence[str]
    queries: Sequence[str]


def misses(
    run: Run, pairs: Pairs, kept: Mapping[tuple[str, str, str, str, str], list[ObservationRef]], count: int
) -> Iterable[tuple[str, Sheet]]:
    """Yield the ``count`` worst queries of each entry on one task, under the encoder and pooling where it does best.

    Raises `HengyuError` for a run that kept no relevance.
    """
    asked, main = _asked(run, pairs), find_task(run.kind).main
    best: dict[str, Record] = {}
    rows = [r for r in run.records if r.task == pairs.task and r.metric == main and r.on_board and r.value is not None]
    for r in sorted(rows, key=lambda r: -(r.value or 0.0)):
        best.setdefault(r.entry, r)
    for entry, r in best.items():
        for one in kept.get((r.task, *r.row), ())[:1]:
            near = one.neighbours()
            if near is not None and len(near) == len(asked.queries):
                name = f"{entry} ({percent(r.value)}; {r.encoder}, {r.pooling}, fit_on {r.fit_on})"
                yield name, _worst(asked, near, count)


def _asked(run: Run, pairs: Pairs) -> _Asked:
    relevance = load_relevance(run.path, pairs.task)
    if relevance is None:
        raise HengyuError(f"{run.path}: keeps no relevance of {pairs.task}; run the suite again to see its errors")
    if isinstance(pairs, Collection):
        return _Asked(relevance, pairs.documents, pairs.queries)
    # of labelled pairs every sentence stands once, as they first appear
    texts = list(dict.fromkeys([*pairs.first, *pairs.second]))
    return _Asked(relevance, texts, [texts[row] for row in relevance.own])


def _worst(asked: _Asked, ids: NDArray[np.integer], count: int) -> Sheet:
    relevance = asked.relevance
    hits = relevance.gains(ids) > 0
    deep = ids.shape[1]
    place = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, deep + 1)
    rows: list[tuple[str, str, str, str]] = []
    for query in np.argsort(-place, kind="stable"):
        if len(rows) == count:
            break
        mine = np.arange(relevance.starts[query], relevance.starts[query + 1])
        mine = mine[relevance.partners[mine] < len(asked.documents)]
        if not len(mine):
            continue  # nothing of the corpus is relevant to it
        wanted = relevance.partners[mine][np.argmax(relevance.grades[mine])]
        first = ids[query, 0]
        rows.append(
            (
                _short(asked.queries[query]),
                _short(asked.documents[wanted]),
                str(place[query]) if place[query] <= deep else f"> {deep}",
                _short(asked.documents[first]) if first >= 0 else "",
            )
        )
    return Sheet("Queries whose first relevant text comes last", "", _HEADS, tuple(rows), frozenset({2}))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
