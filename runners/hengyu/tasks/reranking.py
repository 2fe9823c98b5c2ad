"""Reranking: the candidates of every query, ordered by their cosine with it, like C-MTEB's T2Reranking and CMedQA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hengyu.base.errors import HengyuError
from hengyu.storage.records.observations import load_groups, load_labels, save_labels
from hengyu.tasks.interface.base import Inputs, Metric
from hengyu.tasks.interface.data import SearchData, TaskData
from hengyu.tasks.interface.truth import ItemMeans, Truth, sha_of
from hengyu.tasks.pairs.observing import PairTask
from hengyu.tasks.pairs.vectors import StsVectors, restrict

__all__ = ["TASK", "Candidates", "Reranking", "ranking_scores"]

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

_DEEP, _NEAR = 1000, 10  # cuts of MAP and MRR
_MAP, _MRR = f"map@{_DEEP}", f"mrr@{_NEAR}"
_BLOCK = 4096  # rows read at a time


def ranking_scores(similarity: Floats, hits: NDArray[np.bool_], query: Ids) -> dict[str, Floats]:
    """Return average precision and reciprocal rank of every query, (Q,) each, in [0, 1].

    Of candidates with equal cosines the irrelevant come first, so that a tie never helps.

    Args:
        similarity: (n,) of the candidates.
        hits: (n,) which of them are relevant; every query has at least one.
        query: (n,) the query of each, numbered from 0.
    """
    order = np.lexsort((hits, -similarity, query))
    asked, hit = query[order], hits[order].astype(np.float64)
    starts = np.flatnonzero(np.diff(asked, prepend=-1))
    rank = np.arange(len(asked)) - starts[asked] + 1.0
    found = np.cumsum(hit)
    found -= (found[starts] - hit[starts])[asked]
    precision = np.where((hit > 0) & (rank <= _DEEP), found / rank, 0.0)
    first = np.where((hit > 0) & (rank <= _NEAR), 1.0 / rank, 0.0)
    return {
        _MAP: np.add.reduceat(precision, starts) / np.bincount(query, hits),
        _MRR: np.maximum.reduceat(first, starts),
    }


@dataclass(frozen=True)
class Candidates(ItemMeans):
    """Which candidates answer which queries; the items are the queries.

    Attributes:
        hits: (n,) which candidates are relevant.
        query: (n,) the query of each, numbered from 0.
        sides: the numbers of the texts that ask, and of those that answer.
    """

    task: str
    hits: NDArray[np.bool_]
    query: Ids
    sides: Mapping[str, Ids]
    metrics: tuple[str, ...] = (_MAP, _MRR)

    @property
    def n(self) -> int:
        """The number of queries."""
        return len(self.groups)

    @property
    def groups(self) -> Ids:
        """The group (Q,) of each query: its own."""
        return np.arange(int(self.query.max()) + 1)

    @property
    def about(self) -> dict[str, Any]:
        """How many queries and candidates there are."""
        counts = {"queries": self.n, "candidates": len(self.query), "relevant": int(self.hits.sum())}
        return {**counts, "groups": self.n}

    def texts(self, side: str) -> Ids:
        """Return the numbers of the texts that ask ("query") or answer ("document")."""
        return self.sides[side]

    def scores(self, tensors: Mapping[str, NDArray[Any]], row: int) -> dict[str, Floats] | None:
        """Return every metric of every query, of a row with a cosine for every candidate."""
        similarity = tensors.get("similarity")
        if similarity is None or row >= len(similarity) or similarity[row].shape != self.query.shape:
            return None
        return ranking_scores(np.asarray(similarity[row], np.float64), self.hits, self.query)

    def like(self, other: Truth) -> bool:
        """Whether both judge the same candidates alike."""
        return isinstance(other, Candidates) and self.order() == other.order()

    def order(self) -> str:
        """Return 16 digits over which candidate of which query is relevant."""
        return sha_of(self.query, self.hits)


class Reranking(PairTask):
    """Candidates of queries, judged by mean average precision.

    A task is a retrieval card whose judgements are the candidates, those of grade 0 too; or a card of pairs, of which the
    first sentence asks and the second is a candidate.
    """

    name = "reranking"
    metrics = (
        Metric(_MAP, f"MAP@{_DEEP}", "mean of the precision at the place of each relevant candidate, x 100"),
        Metric(_MRR, f"MRR@{_NEAR}", "1 / place of the first relevant candidate, 0 beyond the tenth, x 100"),
    )
    main = _MAP
    compared = (_MAP, _MRR)
    averaged = (_MAP, _MRR)
    tuners = False
    collections = True
    sided = True

    def truth(self, task: TaskData, thresholds: TaskData | None, relevant: float | None) -> Candidates:
        """Return which candidates are relevant; raises `HengyuError` where nothing says so, or one has no rival."""
        card = task.pairs.card
        if isinstance(task, SearchData):
            asked, hits = task.collection.asked, task.pairs.labels > 0
        else:
            least = 1.0 if card.binary else relevant
            if least is None:
                raise HengyuError(
                    f"task '{task.name}': its labels are graded from {card.scale[0]:g} to {card.scale[1]:g}; say from which "
                    "on a candidate is relevant, like relevant = 4"
                )
            asked, hits = np.unique(task.first, return_inverse=True)[1], task.pairs.labels >= least
            if not np.bincount(asked, hits).all():
                lost = np.flatnonzero(np.bincount(asked, hits) == 0)
                text = task.pairs.first[int(np.flatnonzero(asked == lost[0])[0])]
                raise HengyuError(
                    f"task '{task.name}': {len(lost)} of {int(asked.max()) + 1} queries have no relevant candidate, like "
                    f"'{text[:40]}'; leave their lines out"
                )
        if len(hits) == int(hits.sum()):
            raise HengyuError(
                f"task '{task.name}': every candidate is relevant, so there is nothing to order; its judgements must hold the "
                "irrelevant candidates too, with grade 0"
            )
        return Candidates(task.name, hits, asked, {"query": np.unique(task.first), "document": np.unique(task.second)})

    def open(self, inputs: Inputs) -> StsVectors:
        """Read the distinct candidates, and the distinct queries as they are encoded."""
        task = inputs.task
        answers, (second,) = restrict([task.second])
        asking, (first,) = restrict([task.first])
        queries = [part for part, _ in inputs.rows(asking, "query").blocks(_BLOCK)]
        x = np.concatenate([inputs.read(answers), *(np.asarray(part, np.float32) for part in queries)])
        hits = task.pairs.labels > 0
        return StsVectors(
            *(x, first + len(answers), second, inputs.samples(), hits.astype(np.float64), None, inputs.fits),
            *(inputs.trained, hits),
        )

    def save(self, run: Path, tasks: Sequence[TaskData], truths: Mapping[str, Truth]) -> None:
        """Keep which candidates are relevant, and the query of each in the place of their groups."""
        found = {name: truth for name, truth in truths.items() if isinstance(truth, Candidates)}
        hits = {name: truth.hits.astype(np.float64) for name, truth in found.items()}
        save_labels(run, hits, {name: truth.query for name, truth in found.items()})

    def load(self, run: Path, task: str) -> Truth | None:
        """Return what a run kept, without its texts."""
        hits, query = load_labels(run).get(task), load_groups(run).get(task)
        if hits is None or query is None or query.shape != hits.shape:
            return None
        return Candidates(task, hits > 0, query, {})


TASK = Reranking
