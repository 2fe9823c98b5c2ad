"""Relevance: what a retrieval task asks for, drawn from the labelled pairs of a card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hengyu.errors import HengyuError

__all__ = ["Relevance"]

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Relevance:
    """Which rows of a corpus answer which queries; a query is a row of the corpus itself and never its own answer.

    Attributes:
        corpus: (m,) numbers of the texts, each once, in the order they first appear in the task.
        queries: (Q,) rows of the corpus, ascending: the sentences of relevant pairs.
        partners: (J,) rows of the corpus that are relevant, query after query, ascending within one.
        starts: (Q + 1,) where each query's partners begin.
        groups: (Q,) numbers from 0: queries that relevance connects, which stand or fall together.
    """

    corpus: Ids
    queries: Ids
    partners: Ids
    starts: Ids
    groups: Ids

    @classmethod
    def of(cls, first: Ids, second: Ids, relevant: NDArray[np.bool_], name: str = "the task") -> Self:
        """Make the task of pairs of texts (n,), of which some are relevant (n,); both sentences of such a pair ask.

        Raises `HengyuError` where no pair of two different texts is relevant.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        ids = np.concatenate([first, second])
        distinct, places = np.unique(ids, return_index=True)
        order = np.argsort(places)
        corpus = distinct[order]
        row = np.empty(len(order), np.int64)
        row[order] = np.arange(len(order))
        a, b = np.split(row[np.searchsorted(distinct, ids)], 2)
        kept = relevant & (a != b)
        if not kept.any():
            raise HengyuError(f"{name}: no pair of two different sentences is relevant, so nothing can be asked for")
        both = np.unique(
            np.concatenate([np.stack([a[kept], b[kept]], axis=1), np.stack([b[kept], a[kept]], axis=1)]), axis=0
        )
        queries, starts = np.unique(both[:, 0], return_index=True)
        m = len(corpus)
        graph = coo_array((np.ones(len(both), np.int8), (both[:, 0], both[:, 1])), shape=(m, m))
        component = connected_components(graph, directed=False)[1][queries]
        groups = np.unique(component, return_inverse=True)[1].astype(np.int64)
        return cls(corpus, queries, both[:, 1], np.append(starts, len(both)).astype(np.int64), groups)

    @property
    def counts(self) -> Ids:
        """How many rows are relevant to each query (Q,); at least 1."""
        return np.diff(self.starts)

    def hits(self, ids: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Return which of the rows found (Q, k) are relevant to their query; -1 stands for nothing found."""
        m = np.int64(len(self.corpus))
        wanted = np.repeat(np.arange(len(self.queries)), self.counts) * m + self.partners  # ascending
        asked = np.arange(len(self.queries))[:, None] * m + ids
        at = np.minimum(np.searchsorted(wanted, asked), len(wanted) - 1)
        found: NDArray[np.bool_] = (wanted[at] == asked) & (ids >= 0)
        return found
