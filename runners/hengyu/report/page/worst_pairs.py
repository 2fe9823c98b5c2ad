"""Errors people can read: the pairs whose rank is most wrong, and those that a method moved most, with their sentences.

Sentences are read from the data when the page is made, and only when that is asked for: they are not ours to publish.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.cards import load_cards, parse_task
from hengyu.cards.card import CollectionCard
from hengyu.cards.collection import load_collection
from hengyu.cards.data import Pairs, load_pairs, unlike
from hengyu.cards.sampling import as_read
from hengyu.numerics.metrics import midranks
from hengyu.report.board.board import parted
from hengyu.report.board.cell import percent
from hengyu.report.layout import by_layout
from hengyu.report.retrieval.missed_queries import misses
from hengyu.report.sheet import Sheet
from hengyu.storage.records import Record, Run
from hengyu.storage.records.observations import ObservationRef, kept_in
from hengyu.tasks.interface.registry import find_task

__all__ = ["Mistakes", "mistakes", "most"]

Floats = NDArray[np.float64]
_HEADS = ("sentence 1", "sentence 2", "label", "cosine")


@dataclass(frozen=True)
class Mistakes:
    """What went wrong on one task: a sheet an entry, then one of the pairs that moved."""

    task: str
    sheets: tuple[tuple[str, Sheet], ...]  # what it is of, in words from outside, and the table


def mistakes(run: Run, count: int, *, data_dir: Path | None = None, datasets: Sequence[Path] = ()) -> list[Mistakes]:
    """Return the ``count`` worst pairs or queries of each task and entry, under the encoder and pooling where it does best.

    Raises `HengyuError` if the data is missing, or differs from what the run was evaluated on.
    """
    cards = load_cards(datasets)
    kept = kept_in(run.path)
    found = []
    for head in run.header.get("tasks", ()):
        card, split = parse_task(cards, head["task"])
        pairs = (
            load_collection(card, split, data_dir)
            if isinstance(card, CollectionCard)
            else load_pairs(card, split, data_dir)
        )
        pairs = as_read(pairs, head)
        problem = unlike(pairs, head, run.id)
        if problem:
            raise HengyuError(
                f"{problem}; give the folder that holds that data with --data DIR, or run the suite again"
            )
        sheets = tuple(by_layout(run, {"board": _task, "search": misses})(run, pairs, kept, count))
        if sheets:
            found.append(Mistakes(pairs.task, sheets))
    return found


def _task(
    run: Run, pairs: Pairs, kept: dict[tuple[str, str, str, str, str], list[ObservationRef]], count: int
) -> Iterable[tuple[str, Sheet]]:
    kind = find_task(run.kind)
    main, reference = kind.main, kind.reference
    rows = [
        r
        for r in run.records
        if r.task == pairs.task and r.metric == main and r.on_board and r.value is not None
        and parted(r.entry)[1] == "cosine"  # the sheets show cosines
        and (r.task, *r.row) in kept
    ]  # fmt: skip
    best: dict[str, Record] = {}
    for r in sorted(rows, key=lambda r: -(r.value or 0.0)):
        best.setdefault(r.entry, r)
    seen: dict[tuple[str, str, str, str], Floats] = {}
    for r in (*best.values(), *(r for r in rows if r.entry == reference)):
        x = kept[(r.task, *r.row)][0].read()
        if x is not None and x.shape == pairs.labels.shape:
            seen[r.row] = x
    for entry, r in best.items():
        if r.row in seen:
            yield (
                f"{entry} ({percent(r.value)}; {r.encoder}, {r.pooling}, fit_on {r.fit_on})",
                _wrong(pairs, seen[r.row], count),
            )
    for entry, r in best.items():
        raw = (r.encoder, r.pooling, reference, "none")
        if entry != reference and r.row in seen and raw in seen:
            yield (
                f"{reference} → {entry} ({r.encoder}, {r.pooling}, fit_on {r.fit_on})",
                _moved(pairs, seen[raw], seen[r.row], count),
            )
            return  # the entry that does best


def _ranks(x: Floats) -> Floats:
    """Return mid-ranks (n,) as percentages: 0 for the lowest, 100 for the highest of distinct numbers."""
    return 100 * (midranks(np.asarray(x, np.float64)) - 1) / max(1, len(x) - 1)


def most(change: Floats, count: int) -> NDArray[np.int64]:
    """Return the places of the ``count`` largest changes (n,) of either sign, of equal ones the first."""
    return np.argsort(-np.abs(np.round(change, 9)), kind="stable")[:count]


def _wrong(pairs: Pairs, x: Floats, count: int) -> Sheet:
    by_label, by_cosine = _ranks(pairs.labels), _ranks(x)
    wrong = by_cosine - by_label
    rows = tuple(
        (*_pair(pairs, i), f"{x[i]:.3f}", f"{by_label[i]:.0f}", f"{by_cosine[i]:.0f}", f"{wrong[i]:+.0f}")
        for i in most(wrong, count)
    )
    heads = (*_HEADS, "rank by label, %", "rank by cosine, %", "difference")
    return Sheet("Pairs whose rank is most wrong", "", heads, rows, frozenset(range(2, 7)))


def _moved(pairs: Pairs, before: Floats, after: Floats, count: int) -> Sheet:
    one, two = _ranks(before), _ranks(after)
    rows = tuple(
        (
            *_pair(pairs, i),
            f"{before[i]:.3f}",
            f"{after[i]:.3f}",
            f"{one[i]:.0f}",
            f"{two[i]:.0f}",
            f"{two[i] - one[i]:+.0f}",
        )
        for i in most(two - one, count)
    )
    heads = (*_HEADS[:3], "cosine before", "cosine after", "rank before, %", "rank after, %", "difference")
    return Sheet("Pairs that moved most", "", heads, rows, frozenset(range(2, 8)))


def _pair(pairs: Pairs, i: int) -> tuple[str, str, str]:
    return pairs.first[i], pairs.second[i], f"{pairs.labels[i]:g}"
